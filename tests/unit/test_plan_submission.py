"""The body of a submission that plans or applies a plan: what belongs to which mode."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from api.problems import InvalidFields
from api.submission import take_submission
from core.plans import Mode
from runs.accept import Checked
from runs.plans import ApplyRequest

RUN = "run_01m833sh6krv9agqgj6r7a4n84"


def test_a_run_may_plan() -> None:
    """The mode is part of what is accepted; without one a run writes."""
    planning = take_submission(b'{"script": "return 1", "mode": "plan"}').checked
    plain = take_submission(b'{"script": "return 1"}').checked

    assert isinstance(planning, Checked)
    assert isinstance(plain, Checked)
    assert (planning.mode, plain.mode) == (Mode.PLAN, Mode.RUN)


def test_to_apply_a_plan_takes_its_run_alone() -> None:
    """Script and input may be sent along, to be compared with the plan's."""
    body = {"mode": "apply", "plan": RUN, "input": None, "idempotency_key": "k", "wait_s": 2}
    taken = take_submission(orjson.dumps(body))

    assert taken.checked == ApplyRequest(RUN, None, "k", None, b"null")
    assert taken.wait_s == 2


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/script"]),
        ({"mode": "apply"}, ["/plan"]),
        ({"mode": "apply", "plan": RUN, "seed": 1, "grants": []}, ["/grants", "/seed"]),
        ({"mode": "apply", "plan": RUN, "force": True, "check": True}, ["/check", "/force"]),
        ({"script": "return 1", "plan": RUN}, ["/plan"]),
        ({"script": "return 1", "mode": "plan", "plan_digest": "a"}, ["/plan_digest"]),
        ({"script": "return 1", "idempotency_key": "k"}, ["/idempotency_key"]),
        ({"script": "return 1", "mode": "do"}, ["/mode"]),
        ({"mode": "apply", "plan": 1}, ["/plan"]),
    ],
)
def test_what_another_mode_takes_is_refused(body: dict[str, Any], pointers: list[str]) -> None:
    """Nothing that was sent is silently left out: each wrong name is told with its place."""
    with pytest.raises(InvalidFields) as refused:
        take_submission(orjson.dumps(body))

    assert [one.pointer for one in refused.value.errors] == pointers
