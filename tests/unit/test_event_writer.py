"""Printed text on its way to watchers: gathered, in order, and never late by more than a moment."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from core import keys
from core.calls import CallRecord, Effect, EffectClass
from worker.event_writer import FLUSH_S, MAX_CHARS, MAX_LINES, EventEntry, EventWriter, Shown

CALL = CallRecord(
    seq=1,
    name="mux.list_assets",
    account="default",
    effect_class=EffectClass.READ,
    effect=Effect.SUCCEEDED,
    duration_ms=3,
)


class Later:
    """One call that is to come."""

    def __init__(self, delay_s: float, call: Callable[[], None]) -> None:
        self.delay_s = delay_s
        self.call = call
        self.off = False

    def cancel(self) -> None:
        """Call it off."""
        self.off = True


class Timers:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.pending: list[Later] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Later:
        """Keep the call."""
        self.pending.append(Later(delay_s, call))
        return self.pending[-1]

    def pass_time(self) -> None:
        """Make the calls that are not off."""
        for one in self.pending:
            if not one.off:
                one.call()
        self.pending.clear()


@pytest.fixture
def timers() -> Timers:
    """Time that passes when told to."""
    return Timers()


def writer(timers: Timers, sent: list[EventEntry]) -> EventWriter:
    """Give a writer that appends to `sent`."""
    return EventWriter("run_x", timers.call_later, sent.extend)


def texts(entries: list[EventEntry]) -> list[str]:
    """Give the text of each log entry."""
    return [orjson.loads(data)["text"] for _, kind, data in entries if kind == "log"]


def test_lines_are_gathered_until_there_are_many(timers: Timers) -> None:
    """One entry carries up to 64 lines; nothing is sent for each."""
    sent: list[EventEntry] = []
    events = writer(timers, sent)

    for number in range(MAX_LINES):
        assert not sent
        events.output(f"{number}\n")

    assert texts(sent) == ["".join(f"{number}\n" for number in range(MAX_LINES))]
    assert events.take() == []


def test_much_text_is_sent_at_once(timers: Timers) -> None:
    """A long piece without a line break does not wait."""
    sent: list[EventEntry] = []

    writer(timers, sent).output("a" * MAX_CHARS)

    assert texts(sent) == ["a" * MAX_CHARS]


def test_little_text_is_sent_after_a_moment(timers: Timers) -> None:
    """Whoever watches a slow script sees its lines while it goes on."""
    sent: list[EventEntry] = []
    writer(timers, sent).output("one\n")

    (only,) = timers.pending
    timers.pass_time()

    assert only.delay_s == FLUSH_S
    assert texts(sent) == ["one\n"]


def test_a_call_comes_after_what_was_printed_before_it(timers: Timers) -> None:
    """The order of events is the order of the script."""
    sent: list[EventEntry] = []
    events = writer(timers, sent)
    events.output("before\n")
    events.call(CALL)
    events.output("after\n")
    sent += events.take()

    assert [kind for _, kind, _ in sent] == ["log", "call", "log"]
    assert orjson.loads(sent[1][2]) == CALL.to_json()
    assert {key for key, _, _ in sent} == {keys.events("run_x")}


def test_what_was_taken_is_not_sent_again(timers: Timers) -> None:
    """The last piece goes with the run's end; its timer is off."""
    sent: list[EventEntry] = []
    events = writer(timers, sent)
    events.output("last\n")

    assert texts(events.take()) == ["last\n"]

    timers.pass_time()
    assert sent == []


def test_a_later_attempt_shows_only_what_was_not_shown(timers: Timers) -> None:
    """A run that goes on prints all of it again; watchers see each character and call once."""
    sent: list[EventEntry] = []
    events = EventWriter("run_x", timers.call_later, sent.extend, Shown(6, frozenset({1})))

    events.output("one\n")
    events.call(CALL)
    events.output("two\n")
    events.call(CALL.model_copy(update={"seq": 2}))
    events.output("three\n")
    sent += events.take()

    assert [kind for _, kind, _ in sent] == ["log", "call", "log"]
    assert [orjson.loads(data) for _, kind, data in sent if kind == "log"] == [
        {"text": "o\n", "at": 6},
        {"text": "three\n", "at": 8},
    ]
