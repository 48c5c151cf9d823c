"""How often a run called each integration: what counts, and what an audit says of another count."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ledger.audit_runs import Counts, EndedRun
from ledger.called import OTHER, Called, integration_of


@pytest.mark.parametrize(
    ("name", "integration"),
    [
        ("mux.create_asset", "mux"),
        ("docs.list", "docs"),
        ("mcp.files.read_file", "mcp.files"),
        ("mcp.my-server.a.b", "mcp.my-server"),
        ("mux", OTHER),
        ("mux.", OTHER),
        (".mux", OTHER),
        ("Mux.x", OTHER),
        ("a b.c", OTHER),
        ("a" * 65 + ".x", OTHER),
        ("=1+1.x", OTHER),
        ("mux\n.x", OTHER),
        ("", OTHER),
        (None, OTHER),
        (7, OTHER),
    ],
)
def test_an_integration_is_the_beginning_of_a_functions_name(name: Any, integration: str) -> None:
    """What cannot be the name of a function is counted without being repeated."""
    assert integration_of(name) == integration


def test_a_call_counts_once_however_often_it_was_begun() -> None:
    """An intent that is written again after a lost worker is the same call."""
    called = Called()
    for seq in (1, 1, 2, 1):
        called.note(seq, "mux.list_assets")
    called.note("3", "mux.list_assets")  # no number of a call
    called.note(4, "docs.list")
    assert called.to_json() == {"docs": 1, "mux": 2}


def test_a_leaf_names_a_bounded_number_of_integrations() -> None:
    """However many a tape names, the leaf stays small and the sum exact."""
    called = Called()
    for seq in range(500):
        called.note(seq, f"i{seq % 100}.x")
    counted = called.to_json()
    assert len(counted) <= 65
    assert sum(counted.values()) == 500


def ended(leaf: dict[str, Any]) -> EndedRun:
    """Make an ended run whose tape has two calls of mux."""
    lines = [{"kind": "intent", "facts": {"seq": seq, "name": "mux.list_assets"}} for seq in (1, 2)]
    rows = [(number, orjson.dumps(line)) for number, line in enumerate(lines, 1)]
    return EndedRun(
        leaf=leaf,
        accepted={},
        lines=rows,
        payloads={},
        opener=lambda _: None,
        erased=False,
        input_erased=False,
        counts=Counts(),
    )


@pytest.mark.parametrize("called", [{"mux": 1}, {"mux": 2, "docs": 1}, {}, None, "mux"])
def test_an_audit_holds_the_count_to_the_tape(called: Any) -> None:
    """A leaf that bills other calls than its tape has is told of; one that bills these is not."""
    told = "the integrations that it called are not those of its tape"
    assert told in list(ended({"called": called, "tape": {"id": "x"}}).check())
    assert told not in list(ended({"called": {"mux": 2}, "tape": {"id": "x"}}).check())


def test_an_older_entry_without_the_count_is_sound() -> None:
    """Entries that were written before the count was kept are not called wrong."""
    told = list(ended({"tape": {"id": "x"}}).check())
    assert "the integrations that it called are not those of its tape" not in told
