"""One call until its effect is on the tape, whatever happens to those who wait for it."""

from __future__ import annotations

import asyncio
from typing import Self

from core.calls import Effect
from integrations.call_log import CallFacts, CallLog, Ending
from integrations.failure import CallFailed, encode_failure
from integrations.local_call import LocalCall
from integrations.mcp.server_call import ServerCall
from integrations.recorded import UNKNOWN_HINT
from integrations.sender import Bounds
from integrations.throttle import ThrottleUnavailable
from integrations.vendor_call import Value, VendorCall
from sandbox.calls import EndRun, Reply
from sandbox.outcome import Reason

Work = VendorCall | LocalCall | ServerCall

#: Codes of errors: nobody waits for the answer; nobody knows what the call did.
ABANDONED, EFFECT_UNKNOWN = "abandoned", "effect_unknown"


class Pending:
    """
    A call, carried out or refused in a task of its own.

    Whoever waits for its reply may be cancelled at any moment; this task is not, except while the
    vendor is being asked, and then it still writes down what is known. So no entry of the tape is
    ever left half written.
    """

    def __init__(self, facts: CallFacts, log: CallLog, *, raises: bool) -> None:
        self._facts = facts
        self._log = log
        self._raises = raises
        self._asking = False
        self._abandoned = False
        self.task: asyncio.Task[Reply | EndRun]

    @classmethod
    def done(  # noqa: PLR0913 (the parts of one call, each once)
        cls,
        facts: CallFacts,
        log: CallLog,
        work: Work,
        preview: str,
        bounds: Bounds,
        *,
        raises: bool = False,
        again: int | None = None,
    ) -> Self:
        """
        Begin to write the intent of `work`, do it, and write its effect.

        With `raises` an unknown effect is the script's error, else the run's end. `again` is the
        entry by which a lost attempt had begun the same call.
        """
        pending = cls(facts, log, raises=raises)
        pending.task = asyncio.create_task(pending._do(work, preview, bounds, again))
        return pending

    @classmethod
    def unknown(cls, facts: CallFacts, log: CallLog, failure: CallFailed, *, raises: bool) -> Self:
        """Begin to write that nobody knows what a call did that a lost attempt had begun."""
        pending = cls(facts, log, raises=raises)
        pending.task = asyncio.create_task(pending._fail(failure))
        return pending

    @classmethod
    def refused(cls, facts: CallFacts, log: CallLog, ending: Ending) -> Self:
        """Begin to write that a call was refused. It has no intent: nothing was to be sent."""
        pending = cls(facts, log, raises=False)
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

    async def _do(
        self, work: Work, preview: str, bounds: Bounds, again: int | None
    ) -> Reply | EndRun:
        await self._log.intent(self._facts, preview, key=work.idempotency_key, again=again)
        try:
            value = await self._ask(work, bounds)
        except CallFailed as why:
            return await self._fail(why)
        except asyncio.CancelledError:
            return await self._fail(_unanswered(work))
        except ThrottleUnavailable:
            await self._fail(_unanswered(work))
            raise
        ending = Ending(Effect.SUCCEEDED, ok=True, body=value.body, status=value.status)
        return await self._log.effect(self._facts, ending)

    async def _fail(self, failure: CallFailed) -> Reply | EndRun:
        unknown = failure.effect is Effect.UNKNOWN
        abandoned = failure.code == ABANDONED
        if unknown and self._raises and not abandoned:
            failure.code = EFFECT_UNKNOWN
        # The last dot: `mcp.files` has one of its own.
        integration, _, name = self._facts.name.rpartition(".")
        body = encode_failure(failure, integration, self._facts.account, name)
        ending = Ending(failure.effect, ok=False, body=body, status=failure.status)
        reply = await self._log.effect(self._facts, ending, abandoned=abandoned)
        if unknown and not self._raises:
            return EndRun(Reason.EFFECT_UNKNOWN, failure.message, UNKNOWN_HINT)
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
        ABANDONED,
        f"{work.function.full_name}: the run ended before the answer came{fate}",
        effect=Effect.UNKNOWN if unknown else Effect.FAILED,
    )
