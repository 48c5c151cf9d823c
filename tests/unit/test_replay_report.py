"""What a replay says of a difference: where it is, and what may have made it."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.replayed import Departure, Kind
from ledger.bundle import Bundle, BundleEntry
from ledger.bundle_check import Checked, Proved
from sandbox.calls import Call
from sandbox.limits import Limits
from sandbox.outcome import Fault, Outcome, Reason, Usage
from sandbox.versions import versions
from worker.json_changes import MAX_CHANGES, changes
from worker.replay import Replay, Terms, digest
from worker.replay_report import Report, compare

RUN = "run_" + "0" * 26


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, [("/a", 1, 1.0)]),
        ({"a": True}, {"a": 1}, [("/a", True, 1)]),
        ([1, [2]], [1, [3], 4], [("/1/0", 2, 3), ("/2", None, 4)]),
        ({"a/b": {"~": 1}}, {"a/b": {}}, [("/a~1b/~0", 1, None)]),
        ([], {}, [("", [], {})]),
        (None, 0, [("", None, 0)]),
    ],
)
def test_changes_are_named_by_their_pointers(
    was: Any, now: Any, said: list[tuple[str, Any, Any]]
) -> None:
    """Each value that differs, by JSON pointer; what is not there is left out."""
    found = changes(was, now)
    assert [(one["pointer"], one.get("was"), one.get("now")) for one in found] == said


def test_many_and_deep_changes_are_bounded() -> None:
    """However many there are and however deep they stand."""
    assert len(changes(list(range(1_000)), [])) == MAX_CHANGES
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    assert len(changes(deep, [deep])) == 1


def terms(**changed: Any) -> Terms:
    """Make what a run was given and how it ended."""
    given: dict[str, Any] = {
        "script": b"return 1", "input": b"null", "surface": {}, "limits": Limits(), "seed": 1,
        "name": "script", "clock_ms": 1, "raises": False, "reason": Reason.OK, "error": None,
        "instructions": 7, "versions": versions(),
    }  # fmt: skip
    return Terms(**given | changed)


def checked(output: bytes | None = b"abc", *entries: BundleEntry, **finished: Any) -> Checked:
    """Make a bundle that was checked."""
    body = {"result_sha256": digest(b"1"), "output_sha256": digest(b"abc"), **finished}
    texts = {"result": b"1"} if output is None else {"result": b"1", "output": output}
    bundle = Bundle(RUN, None, texts, list(entries))
    return Checked(bundle, [], {}, body, Proved("log", signed=True, unbound=()))


def outcome(reason: Reason = Reason.OK, **changed: Any) -> Outcome:
    """Make how a replay ended; by itself as the recorded run."""
    given: dict[str, Any] = {"result": b"1", "output": "abc", "usage": Usage(instructions=7)}
    return Outcome(reason, **given | changed)


def told(
    found: Outcome, *, was: Terms | None = None, of: Checked | None = None, changed: bool = False
) -> Report:
    """Compare."""
    replay = Replay(found, None, at_end_of_tape=False, kept=None)
    return compare(of or checked(), was or terms(), replay, changed_script=changed, was=None)


def at(report: Report) -> Any:
    """Give where the first difference is."""
    return None if report.difference is None else report.difference["at"]


def test_every_part_is_compared() -> None:
    """One part that differs is a difference, and the first one is told."""
    fault = Fault("x")
    assert at(told(outcome())) is None
    assert at(told(outcome(output="abd"))) == "output"
    assert at(told(outcome(output="ab"))) == "output"
    assert at(told(outcome(output="abcd"))) == "output"
    assert at(told(outcome(result=b"2"))) == "result"
    assert at(told(outcome(usage=Usage(instructions=8)))) == "instructions"
    assert at(told(outcome(usage=Usage(instructions=8)), changed=True)) is None
    assert at(told(outcome(Reason.SCRIPT_ERROR, error=fault))) == "reason"
    assert at(told(outcome(error=fault))) == "error"
    assert at(told(outcome(output="x"), of=checked(None))) == "output"


def test_an_end_from_outside_is_not_compared() -> None:
    """What it printed is, as far as both have it."""
    cut = terms(reason=Reason.WALL_LIMIT)
    found = told(outcome(result=b"2", output="abcdef"), was=cut)
    assert (at(found), found.ending) == (None, False)
    assert "does not come again" in found.notes[0]
    assert at(told(outcome(output="abX"), was=cut)) == "output"


def test_another_engine_or_policy_is_named() -> None:
    """A difference may come from there: whoever reads the report is told."""
    other = terms(versions={"engine": "Lua 5.3", "policy": versions()["policy"]})
    assert told(outcome(), was=other).notes == [
        f"it ran with engine Lua 5.3, here is {versions()['engine']}"
    ]


def test_output_before_a_call_that_differs_is_the_first_difference() -> None:
    """What was printed before it differs first; nothing that would come after counts."""
    now = Call(1, "till", "pay", None, b'[{"tag":"b"}]')
    departure = Departure(Kind.EXTRA, 1, None, now)
    for printed, where in (("ab", "call"), ("aX", "output")):
        left = outcome(Reason.DIVERGED, result=b"null", output=printed)
        replay = Replay(left, departure, at_end_of_tape=False, kept=None)
        found = compare(checked(), terms(), replay, changed_script=True, was=None)
        assert at(found) == where
        assert found.would_send is not None
        assert found.would_send["arguments"] == [{"tag": "b"}]
