"""One call until its effect is on the tape, whatever happens to those who wait for it."""

from __future__ import annotations

import asyncio
from typing import Self

from core.calls import Effect
from integrations.call_log import CallFacts, CallLog, Ending
from integrations.failure import CallFailed, encode_failure
from integrations.local_call import LocalCall
from integrations.sender import Bounds
from integrations.vendor_call import Value, VendorCall
from sandbox.calls import EndRun, Reply
from sandbox.outcome import Reason

_UNKNOWN_HINT = (
    "look at the vendor whether it was done before running this again; it is never sent twice"
)


Work = VendorCall | LocalCall


class Pending:
    """
    A call, carried out or refused in a task of its own.

    Whoever waits for its reply may be cancelled at any moment; this task is not, except while the
    vendor is being asked, and then it still writes down what is known. So no entry of the tape is
    ever left half written.
    """

    def __init__(self, facts: CallFacts, log: CallLog) -> None:
        self._facts = facts
        self._log = log
        self._asking = False
        self._abandoned = False
        self.task: asyncio.Task[Reply | EndRun]

    @classmethod
    def done(cls, facts: CallFacts, log: CallLog, work: Work, preview: str, bounds: Bounds) -> Self:
        """Begin to write the intent of `work`, do it, and write its effect."""
        pending = cls(facts, log)
        pending.task = asyncio.create_task(pending._do(work, preview, bounds))
        return pending

    @classmethod
    def refused(cls, facts: CallFacts, log: CallLog, ending: Ending) -> Self:
        """Begin to write that a call was refused. It has no intent: nothing was to be sent."""
        pending = cls(facts, log)
        pending.task = asyncio.create_task(pending._refuse(ending))
        return pending

    def stop(self) -> None:
        """Ask for no answer any more. The task still has to be awaited."""
        self._abandoned = True
        if self._asking:
            # Once only: a second one could strike while the effect is being written down.
            self._asking = False
            self.task.cancel()

    async def _refuse(self, ending: Ending) -> Reply | EndRun:
        return await self._log.effect(self._facts, ending, refused=True)

    async def _do(self, work: Work, preview: str, bounds: Bounds) -> Reply | EndRun:
        await self._log.intent(self._facts, preview)
        try:
            value = await self._ask(work, bounds)
        except CallFailed as why:
            return await self._fail(work, why)
        except asyncio.CancelledError:
            return await self._fail(work, _unanswered(work))
        ending = Ending(Effect.SUCCEEDED, ok=True, body=value.body, status=value.status)
        return await self._log.effect(self._facts, ending)

    async def _fail(self, work: Work, failure: CallFailed) -> Reply | EndRun:
        function = work.function
        body = encode_failure(failure, function.integration, self._facts.account, function.name)
        ending = Ending(failure.effect, ok=False, body=body, status=failure.status)
        reply = await self._log.effect(self._facts, ending)
        if failure.effect is Effect.UNKNOWN:
            return EndRun(Reason.EFFECT_UNKNOWN, failure.message, _UNKNOWN_HINT)
        return reply

    async def _ask(self, work: Work, bounds: Bounds) -> Value:
        if self._abandoned:
            raise _unanswered(work)
        self._asking = True
        try:
            return await work.carry_out(bounds)
        finally:
            self._asking = False


def _unanswered(work: Work) -> CallFailed:
    unknown = work.progress.may_have_written
    fate = "; it was sent and may have been done" if unknown else ""
    return CallFailed(
        "abandoned",
        f"{work.function.full_name}: the run ended before the answer came{fate}",
        effect=Effect.UNKNOWN if unknown else Effect.FAILED,
    )
