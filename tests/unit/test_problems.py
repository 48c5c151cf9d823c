"""Problems: one closed table, told in the docs, from the error tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.problems import KNOWN, Problem, make_problem
from api.shapes import LONG_FIELDS, RunSummary
from core import errors
from runs.model import RunRecord
from sandbox.limits import SPECS
from sandbox.outcome import Reason


def _subclasses(kind: type[errors.ServiceError]) -> list[type[errors.ServiceError]]:
    return [kind, *(deeper for one in kind.__subclasses__() for deeper in _subclasses(one))]


KINDS = [*_subclasses(errors.Refused), errors.Unavailable, errors.Broken]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_row(kind: type[errors.ServiceError]) -> None:
    """Each error of the tree has a row in the table, with the status it says."""
    assert KNOWN[kind.code].status == kind.status


def test_the_type_is_the_page() -> None:
    """A problem's type is the address of the page about it."""
    for code in KNOWN:
        problem = make_problem("req_1", code, "detail")
        assert problem.type == f"/problems/{code}"
        assert Problem.model_validate(problem.model_dump()) == problem


def test_every_problem_is_documented() -> None:
    """Each code stands in docs/api.md with its status."""
    text = Path("docs/api.md").read_text("utf-8")
    for code, known in KNOWN.items():
        assert f"| `{code}` | {known.status} |" in text


def test_every_limit_and_reason_is_documented() -> None:
    """Each limit stands in docs/api.md with its range, and each reason by its word."""
    text = Path("docs/api.md").read_text("utf-8")
    for name, spec in SPECS.items():
        assert f"| `{name}` | {spec.default} | {spec.minimum} | {spec.maximum} |" in text
    for reason in Reason:
        assert f"`{reason}`" in text


def test_a_summary_is_a_record_without_its_long_fields() -> None:
    """Lists show every field of a record but those that may be megabytes long."""
    assert set(RunSummary.model_fields) == set(RunRecord.model_fields) - LONG_FIELDS
