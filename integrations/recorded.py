"""
Answers the calls of a run from its recording, as long as that reaches.

Runs in: worker, CLI. Trusts: the recording. Refuses: a script that does not call what is recorded.
May import: ledger, core, sandbox vocabulary; neither Redis, vendors nor the catalog.

A call whose end is not recorded is *live*. It waits until every recorded reply was asked for:
nothing is sent before the script was held to the whole tape. A script that is the same can't wait
for ever: each recorded reply was asked for once without the help of anything later.
"""

from __future__ import annotations

import asyncio
import hashlib

import orjson

from core.calls import CallRecord, Effect
from ledger.recording import RecordedCall, RecordedReply, Recording
from sandbox.calls import Call, EndRun, Reply
from sandbox.outcome import Fault, Reason

UNKNOWN_HINT = (
    "look at the vendor whether it was done before running this again; it is never sent twice"
)
#: Ends that a script reaches by itself: before one of these it made every call on its tape.
_OWN_ENDS = frozenset(
    {
        *(Reason.OK, Reason.SCRIPT_ERROR, Reason.SYNTAX_ERROR, Reason.DENIED),
        *(Reason.INSTRUCTION_LIMIT, Reason.OUTPUT_LIMIT, Reason.CALL_LIMIT),
        *(Reason.RESULT_LIMIT, Reason.INVALID_RESULT),
    }
)


class Recorded:
    """
    The answering side of one recording, for one attempt.

    With `raises` an unknown effect is an error of the script, else it ends the run.
    """

    def __init__(self, recording: Recording, *, raises: bool) -> None:
        self._calls = recording.calls
        self._raises = raises
        self._replies = {seq for seq, call in recording.calls.items() if call.reply is not None}
        self._unmet = set(recording.calls)
        self._waiting = 0
        self._played = asyncio.Event()
        self._diverged: EndRun | None = None
        self._set_if_played()

    @property
    def records(self) -> list[CallRecord]:
        """Every call that is recorded, whether the script has made it again or not."""
        return [call.record() for call in self._calls.values() if not call.waits]

    def record(self, seq: int) -> CallRecord | None:
        """Give the record of one call, None if it is not on the tape."""
        call = self._calls.get(seq)
        return call.record() if call is not None else None

    def answer(self, call: Call) -> Reply | EndRun | None:
        """Give what is recorded of a call; None: it is live, and `played` is to be awaited."""
        before = self._calls.get(call.seq)
        if before is None:
            return None
        difference = _difference(before, call)
        if difference is not None:
            self._diverged = self._diverged or _diverged(difference)
            return self._diverged
        self._unmet.discard(call.seq)
        reply = before.reply
        if reply is None:
            return None
        self._replies.discard(call.seq)
        self._set_if_played()
        # It may be large, and is asked for once.
        before.reply = RecordedReply(
            reply.order, reply.effect, reply.ok, "", reply.clock_ms, reply.duration_ms
        )
        if reply.effect is Effect.UNKNOWN and not self._raises:
            return EndRun(Reason.EFFECT_UNKNOWN, _message(reply.body), UNKNOWN_HINT)
        return Reply(reply.ok, reply.body.encode(), reply.clock_ms, reply.order)

    async def in_turn(self, answer: Reply | EndRun) -> Reply | EndRun:
        """Give an answer; one that ends the run comes after all replies that were recorded."""
        if isinstance(answer, EndRun) and answer.reason is Reason.EFFECT_UNKNOWN:
            await self.played()
        return answer

    def was_begun(self, seq: int) -> bool:
        """Tell whether a call has an intent, or was planned: a refused one is neither."""
        call = self._calls.get(seq)
        return call is not None and (call.began > 0 or call.planned is not None)

    def lost(self, seq: int) -> RecordedCall | None:
        """Give a call that was begun and whose end nobody knows."""
        call = self._calls.get(seq)
        return call if call is not None and call.lost else None

    def waited(self, seq: int) -> RecordedCall | None:
        """Give a call that has waited, and may have to wait on; None if it is none of those."""
        call = self._calls.get(seq)
        return call if call is not None and call.wait is not None else None

    async def played(self) -> None:
        """Wait until every recorded reply was asked for."""
        self._waiting += 1
        await self._played.wait()
        # Who is cancelled here stays counted, for the verdict.
        self._waiting -= 1

    def verdict(self, reason: Reason) -> Fault | None:
        """
        Tell, after the end of the script, how it left its tape; None: it did not.

        A script that ended by itself has made every call on its tape. One that ran into its wall
        limit while a live call waited for the rest of the tape will never ask for that rest.
        """
        stuck = reason is Reason.WALL_LIMIT and self._waiting > 0 and bool(self._replies)
        if self._unmet and (reason in _OWN_ENDS or stuck):
            call = self._calls[min(self._unmet)]
            left = _diverged(f"call {call.seq} on the tape is {call.name}; it was not made again")
            return Fault(left.message, hint=left.hint)
        return None

    def _set_if_played(self) -> None:
        if not self._replies:
            self._played.set()


def _difference(before: RecordedCall, call: Call) -> str | None:
    asked = (call.integration, call.account, call.function)
    if asked != before.asked:
        return f"call {call.seq} on the tape is {_said(before.asked)}, it is {_said(asked)} now"
    digest = hashlib.sha256(call.arguments).hexdigest()
    if digest != before.arguments_sha256:
        return (
            f"call {call.seq}, {before.name}, has other arguments than on the tape"
            f" (sha-256 {digest[:12]}, not {before.arguments_sha256[:12]})"
        )
    return None


def _said(asked: tuple[str, str | None, str]) -> str:
    integration, account, function = asked
    name = f"{integration}.{function}" if account is None else f"{integration}.{account}.{function}"
    return "".join(one if one.isprintable() else " " for one in name)


def _diverged(difference: str) -> EndRun:
    return EndRun(
        Reason.DIVERGED,
        f"executed again, the script left its tape: {difference}; nothing was sent after that",
        "its earlier calls stand; submit it as a new run if it is to be done again",
    )


def _message(body: str) -> str:
    said = orjson.loads(body).get("message")
    return said if isinstance(said, str) else "the effect of a call is unknown"
