"""What a script gets of sleep, wait_for and approval.request."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.limits import Limits
from tests.lua_child import CLOCK_MS, run_lua


def yes(call: list[Any]) -> tuple[bool, Any]:
    """Answer each sleep, approve each question."""
    return True, {"approved": True, "by": "key_1"} if call[2] == "approval" else None


def test_a_sleep_is_a_call_in_whole_milliseconds() -> None:
    """Its time is rounded up, it returns nothing, and the clock has moved on after it."""
    ended = run_lua(
        "local n = select('#', sleep(1.5)) sleep(0) sleep(0.0001) return { n, os.time() }",
        answer=yes,
    )

    assert ended.calls == [["run", None, "sleep", [ms]] for ms in (1500, 0, 1)]
    assert ended.value == [0, CLOCK_MS // 1000 + 3]


@pytest.mark.parametrize("given", ["-1", "0/0", "1/0", "'1'", "nil", "{}", "1e12"])
def test_a_time_that_is_none_is_refused_before_any_call(given: str) -> None:
    """Negative, endless, no number or far too long: an error of the script with its line."""
    ended = run_lua(f"\nsleep({given})", answer=yes)

    assert (ended.reason, ended.line, ended.calls) == ("script_error", 2, [])
    assert "sleep: the time must be a number of seconds" in ended.message


def test_wait_for_gives_the_first_true_value() -> None:
    """It sleeps between two looks and not before the first nor after the last."""
    ended = run_lua(
        "local n = 0 return wait_for(function() n = n + 1 return n > 2 and {n} end, {every = 2})",
        answer=yes,
    )

    assert ended.value == [3]
    assert ended.calls == [["run", None, "sleep", [2000]]] * 2


def test_wait_for_ends_by_the_runs_clock() -> None:
    """Too late is an error with a code, after one last look at the very end; replies tell time."""
    ended = run_lua(
        """
        local looks = 0
        local ok, e = pcall(wait_for, function() looks = looks + 1 end, { every = 2, timeout = 5 })
        return { ok, e.code, looks, tostring(e) }
        """,
        answer=yes,  # each reply moves the clock by one second
    )

    assert ended.value[:3] == [False, "timeout", 6]
    assert "within 5.0 s (6 tries)" in ended.value[3]


def test_an_error_while_it_looks_is_the_scripts() -> None:
    """What the function raises is raised as it is, at its line."""
    ended = run_lua("wait_for(function()\n error('gone') end)", answer=yes)

    assert (ended.reason, ended.line, ended.message) == ("script_error", 2, "gone")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("wait_for(1)", "the first argument is a function"),
        ("wait_for(print, 1)", "a table like { every = 5, timeout = 300 }"),
        ("wait_for(print, { evry = 1 })", "unknown option evry"),
        ("wait_for(print, { every = 0 })", "from 0.1 to"),
        ("approval.request()", "a table like"),
        ("approval.request{}", "title must be a text"),
        ("approval.request{ title = '' }", "title must be a text"),
        ("approval.request{ title = ('x'):rep(201) }", "title must be a text"),
        ("approval.request{ title = 'x', timeout = 0 }", "timeout must be a number of seconds"),
        ("approval.request{ title = 'x', why = 1 }", "unknown option why"),
        ("approval.request{ title = 'x', details = print }", "function"),
        ("approval.ask{}", "Unknown function: approval.ask"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(script: str, words: str) -> None:
    """Wrong options are an error that says what is right, and nothing is asked."""
    ended = run_lua(script, answer=yes)

    assert (ended.reason, ended.calls) == ("script_error", [])
    assert words in ended.message


def test_a_question_carries_title_details_and_time() -> None:
    """All three in this order, null for what is not there; the answer comes back as a table."""
    ended = run_lua(
        """
        local said = approval.request{ title = "Delete?", details = { n = 3 }, timeout = 60 }
        approval.request{ title = "And?" }
        return { said.approved, said.by }
        """,
        answer=yes,
    )

    assert ended.calls == [
        ["run", None, "approval", ["Delete?", {"n": 3}, 60_000]],
        ["run", None, "approval", ["And?", None, None]],
    ]
    assert ended.value == [True, "key_1"]


@pytest.mark.parametrize("code", ["denied", "expired"])
def test_a_no_ends_the_run_unless_it_is_caught(code: str) -> None:
    """An uncaught refusal gives the run its reason; a caught one is a table."""

    def no(_call: list[Any]) -> tuple[bool, Any]:
        return False, {"code": code, "message": "no", "comment": "later"}

    script = "approval.request{ title = 'x' }"
    uncaught = run_lua(script, answer=no)
    caught = run_lua(
        "local ok, e = pcall(approval.request, { title = 'x' }) return { e.code, e.comment }",
        answer=no,
    )

    assert (uncaught.reason, uncaught.message) == (code, "no")
    assert caught.value == [code, "later"]


def test_a_script_cannot_wait_more_often_than_it_may_call() -> None:
    """Waits count as calls: one that sleeps for ever ends."""
    ended = run_lua("while true do sleep(1) end", answer=yes, limits=Limits(calls=3))

    assert (ended.reason, len(ended.calls)) == ("call_limit", 3)


def test_the_names_are_not_to_be_changed() -> None:
    """`approval` is read-only; a script's own variables cannot make a wait something else."""
    ended = run_lua("approval.request = print", answer=yes)

    assert ended.reason == "script_error"
