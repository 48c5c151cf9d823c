"""
Answers the calls of a run that is executed again only to be looked at: nothing is ever sent.

Runs in: CLI. Trusts: the recording, as far as its caller has checked it. Refuses: to answer
anything that is not recorded. May import: integrations, ledger, core, sandbox vocabulary.

A script that does as before is given every recorded reply in the recorded order. At the first call
that is another one it is ended. A call without a recorded reply is one at which the run was ended
from outside, or which was in flight when it passed a limit: it is held until the rest of the tape
was met, and longer if the script has to come to its limit by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from integrations.recorded import Recorded
from ledger.recording import RecordedCall, Recording
from sandbox.calls import Call, EndRun, Reply
from sandbox.outcome import Reason

#: Ends that a script reaches by itself with all its replies: every call it made is on the tape.
_ALL_TOLD = frozenset(
    {
        *(Reason.OK, Reason.SCRIPT_ERROR, Reason.SYNTAX_ERROR, Reason.DENIED),
        *(Reason.RESULT_LIMIT, Reason.INVALID_RESULT),
    }
)
#: Limits that a script comes to by itself, perhaps with calls in flight.
LIMITS = frozenset(
    {
        *(Reason.INSTRUCTION_LIMIT, Reason.MEMORY_LIMIT),
        *(Reason.OUTPUT_LIMIT, Reason.CALL_LIMIT),
    }
)
#: Ends that depend on what the run was given and on nothing else.
REPRODUCIBLE = _ALL_TOLD | LIMITS | {Reason.EFFECT_UNKNOWN}


class Kind(StrEnum):
    """How a call differs from the tape."""

    FUNCTION = "function"
    ACCOUNT = "account"
    ARGUMENTS = "arguments"
    EXTRA = "extra"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Departure:
    """The first call that is not the recorded one. `now` is None if the script does not make it."""

    kind: Kind
    seq: int
    was: RecordedCall | None
    now: Call | None


class Replayed:
    """
    The answering side of one replay.

    `ended` is the reason for which the recorded run ended. With `other` the script is not the
    recorded one. `keep` is the number of a call whose arguments are wanted: `kept` has them.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        raises: bool,
        ended: Reason,
        other: bool = False,
        keep: int | None = None,
    ) -> None:
        self._calls = dict(recording.calls)
        self._recorded = Recorded(recording, raises=raises)
        self._open_end = not other and ended not in _ALL_TOLD
        # What ends the run is still to come: a limit, or the call that nobody knows the end of.
        self._held = ended is Reason.EFFECT_UNKNOWN or (ended in LIMITS and not other)
        self._keep = keep
        self._unmet = set(recording.calls)
        self._met = asyncio.Event()
        self._departure: Departure | None = None
        self.kept: Call | None = None
        self.at_end_of_tape = False
        self._look()

    async def call(self, call: Call) -> Reply | EndRun:
        """Answer a call from the tape, or end the run."""
        if call.seq == self._keep:
            self.kept = call
        answer = self._recorded.answer(call)
        if isinstance(answer, EndRun) and answer.reason is Reason.DIVERGED:
            return self._depart(call)
        if call.seq not in self._calls and not self._open_end:
            return self._depart(call)
        self._unmet.discard(call.seq)
        self._look()
        if isinstance(answer, Reply):
            return answer
        await self._met.wait()
        await self._recorded.played()
        if answer is not None:
            return answer
        if self._held:
            await asyncio.Event().wait()  # cancelled when the run has come to its end
        self.at_end_of_tape = True
        return EndRun(Reason.CANCELLED, "the tape ends here")

    def departure(self, ended: Reason) -> Departure | None:
        """Give the first call that differs, after the script ended for the reason `ended`."""
        if self._departure is not None or not self._unmet:
            return self._departure
        if ended in LIMITS and self._open_end:
            # Calls that were in flight at a limit may come too late to be seen.
            unmet = [seq for seq in self._unmet if self._calls[seq].reply is not None]
        else:
            unmet = list(self._unmet)
        if not unmet:
            return None
        return Departure(Kind.MISSING, min(unmet), self._calls[min(unmet)], None)

    def _depart(self, call: Call) -> EndRun:
        if self._departure is None:
            was = self._calls.get(call.seq)
            self._departure = Departure(_kind(was, call), call.seq, was, call)
        return EndRun(Reason.DIVERGED, "this call is not the recorded one")

    def _look(self) -> None:
        if not self._unmet:
            self._met.set()


def _kind(was: RecordedCall | None, call: Call) -> Kind:
    if was is None:
        return Kind.EXTRA
    if (call.integration, call.function) != (was.asked[0], was.asked[2]):
        return Kind.FUNCTION
    return Kind.ACCOUNT if call.account != was.asked[1] else Kind.ARGUMENTS
