"""Answers from a recording: the same calls get the same replies, any other call ends the run."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from core.calls import Effect
from integrations.recorded import Recorded
from ledger.recording import Recording, TapeUnreadable
from ledger.tape import Entry, Kind
from sandbox.calls import Call, EndRun, Reply
from sandbox.outcome import Reason

ARGUMENTS = b'[{"tag":"a"}]'


def call(seq: int, function: str = "pay", arguments: bytes = ARGUMENTS) -> Call:
    """Make a call as a script does."""
    return Call(seq, "till", function, None, arguments)


def told(seq: int, function: str = "pay", **more: Any) -> dict[str, Any]:
    """Give what an intent says of a call."""
    return {
        "seq": seq,
        "asked": ["till", None, function],
        "name": f"till.{function}",
        "account": "default",
        "effect_class": "write",
        "arguments_sha256": hashlib.sha256(ARGUMENTS).hexdigest(),
        "preview": "{}",
        **more,
    }


def done(seq: int, effect: str = "succeeded", **more: Any) -> dict[str, Any]:
    """Give what an effect says."""
    body = {"seq": seq, "effect": effect, "duration_ms": 5, "status": 200, "clock_ms": 1_000 + seq}
    return {**body, "ok": effect == "succeeded", "reply": f'{{"message":"{seq}"}}', **more}


def tape(*entries: tuple[Kind, dict[str, Any]]) -> list[Entry]:
    """Number entries after `accepted` and `started`."""
    head = [(Kind.ACCEPTED, {}), (Kind.STARTED, {"attempt": 1, "clock_ms": 77})]
    whole = [*head, *entries]
    return [Entry(n, kind, 100 * n, body) for n, (kind, body) in enumerate(whole, 1)]


def recorded(*entries: tuple[Kind, dict[str, Any]], raises: bool = False) -> Recorded:
    """Answer from these entries."""
    return Recorded(Recording.of(tape(*entries)), raises=raises)


def test_replies_come_in_the_order_of_their_effects() -> None:
    """The order is that of the tape, whatever the order of the calls; so are the clocks."""
    from_tape = recorded(
        (Kind.INTENT, told(1)),
        (Kind.INTENT, told(2)),
        (Kind.EFFECT, done(2)),
        (Kind.EFFECT, done(1)),
    )

    first, second = from_tape.answer(call(1)), from_tape.answer(call(2))

    assert first == Reply(True, b'{"message":"1"}', 1_001, 2)
    assert second == Reply(True, b'{"message":"2"}', 1_002, 1)
    assert from_tape.verdict(Reason.OK) is None


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (call(1, "refund"), "call 1 on the tape is till.pay, it is till.refund now"),
        (call(1, arguments=b"[]"), "call 1, till.pay, has other arguments than on the tape"),
    ],
    ids=["name", "arguments"],
)
def test_another_call_than_the_recorded_one_ends_the_run_and_says_which(
    now: Call, said: str
) -> None:
    """Nothing is answered, nothing is sent: the first step that differs is named."""
    from_tape = recorded((Kind.INTENT, told(1)), (Kind.EFFECT, done(1)))

    answer = from_tape.answer(now)

    assert isinstance(answer, EndRun)
    assert answer.reason is Reason.DIVERGED
    assert said in answer.message


def test_a_call_that_is_not_made_again_is_told_after_the_end() -> None:
    """A script that ends by itself before the end of its tape has left it."""
    from_tape = recorded((Kind.INTENT, told(1)), (Kind.EFFECT, done(1)), (Kind.INTENT, told(2)))
    from_tape.answer(call(1))

    left = from_tape.verdict(Reason.OK)

    assert left is not None
    assert "call 2 on the tape is till.pay; it was not made again" in left.message
    assert from_tape.verdict(Reason.CANCELLED) is None


async def test_a_live_call_waits_until_the_whole_tape_was_asked_for() -> None:
    """Nothing is sent before the script was held to every recorded reply."""
    from_tape = recorded((Kind.INTENT, told(2)), (Kind.EFFECT, done(2)))
    assert from_tape.answer(call(1)) is None
    live = asyncio.ensure_future(from_tape.played())
    await asyncio.sleep(0)
    assert not live.done()

    from_tape.answer(call(2))

    await asyncio.wait_for(live, 5)


async def test_a_live_call_that_waits_for_what_never_comes_is_a_divergence() -> None:
    """The wall limit of such a run is no limit of the script's."""
    from_tape = recorded((Kind.INTENT, told(2)), (Kind.EFFECT, done(2)))
    from_tape.answer(call(1))
    live = asyncio.ensure_future(from_tape.played())
    await asyncio.sleep(0)
    live.cancel()

    assert from_tape.verdict(Reason.WALL_LIMIT) is not None


@pytest.mark.parametrize("raises", [False, True])
async def test_a_recorded_unknown_effect_ends_the_run_again_or_is_raised_again(
    *, raises: bool
) -> None:
    """What the script or the run learned once, it learns every time."""
    from_tape = recorded((Kind.INTENT, told(1)), (Kind.EFFECT, done(1, "unknown")), raises=raises)

    answer = from_tape.answer(call(1))

    assert answer is not None
    if raises:
        assert answer == Reply(False, b'{"message":"1"}', 1_001, 1)
    else:
        assert isinstance(answer, EndRun)
        assert (answer.reason, answer.message) == (Reason.EFFECT_UNKNOWN, "1")


def test_an_abandoned_effect_is_no_reply() -> None:
    """What an attempt without a script wrote: nothing was done, or nobody knows; no answer."""
    from_tape = recorded(
        (Kind.INTENT, told(1)),
        (Kind.EFFECT, done(1, "failed", abandoned=True)),
        (Kind.INTENT, told(2)),
        (Kind.EFFECT, done(2, "unknown", abandoned=True)),
    )

    assert from_tape.answer(call(1)) is None
    assert from_tape.answer(call(2)) is None
    assert from_tape.lost(1) is None
    assert from_tape.lost(2) is not None
    assert [one.effect for one in from_tape.records] == [Effect.FAILED, Effect.UNKNOWN]


def test_a_tape_with_two_ends_of_one_call_is_refused() -> None:
    """Whoever forged or damaged a tape gets no run over it."""
    with pytest.raises(TapeUnreadable, match="call 1 ends twice"):
        Recording.of(tape((Kind.INTENT, told(1)), (Kind.EFFECT, done(1)), (Kind.EFFECT, done(1))))


def test_the_clock_and_the_surface_are_those_of_the_first_attempt() -> None:
    """Later attempts start later and may see other grants: the run does not."""
    recording = Recording.of(
        tape(
            (Kind.INTENT, told(1, surface_sha256="aa")),
            (Kind.STARTED, {"attempt": 2, "clock_ms": 99}),
            (Kind.INTENT, told(1, again=3)),
        )
    )

    assert (recording.clock_ms, recording.surface_sha256, recording.attempts) == (77, "aa", 2)
    assert recording.calls[1].began == 3
