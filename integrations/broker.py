"""
Answers the calls of runs: the only way from a script to anything outside.

Runs in: worker. Trusts: the catalog, the accounts, the grants; of a vendor only that it was asked.
Refuses: what is not granted, unknown functions and accounts, arguments that do not fit, and to
send anything whose intent is not on the tape. May import: integrations, tenancy, ledger, core,
sandbox vocabulary; never Redis.

Order of every call: granted, with this account? known account? arguments valid? granted with
these, and so often? then the intent is written to the tape, then the vendor is asked, then the
effect is written, then the script gets its reply.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from core.calls import CallRecord, Effect, EffectClass
from core.clock import Clock
from integrations.accounts import Accounts
from integrations.call_log import CallFacts, CallLog, Ending
from integrations.catalog import Catalog
from integrations.failure import CallFailed, encode_failure, printable
from integrations.function import Function
from integrations.gate import Gate, approval_required
from integrations.mcp.run_servers import McpServers, RunServers, Target
from integrations.pending import Pending
from integrations.planning import Candidate, Unplanned
from integrations.preparing import Prepared, Preparing
from integrations.recorded import Recorded
from integrations.resend import check_again, in_doubt
from integrations.sender import Bounds
from integrations.throttle import MemoryThrottle, Throttle
from integrations.vendor_http import VendorHttp
from integrations.visible import OPEN, Visible, is_granted, subject_of
from integrations.waits import RUN, Wait, Waits, WaitTerms, Written, question_of
from ledger.recording import RecordedCall, Recording
from ledger.tape import Tape
from sandbox.calls import Call, EndRun, Reply
from sandbox.limits import Limits
from sandbox.outcome import Fault, Reason
from sandbox.surface import Surface
from tenancy.grants import Grants

if TYPE_CHECKING:
    from sandbox.parking import Parking


class Broker:
    """
    What all runs of one worker share: the catalog, the connections, the clock and the throttle.

    Without a `throttle`, rates are counted in this process; without `mcp` there are no servers.
    """

    def __init__(
        self,
        catalog: Catalog,
        http: VendorHttp,
        clock: Clock,
        throttle: Throttle | None = None,
        mcp: McpServers | None = None,
    ) -> None:
        self.catalog = catalog
        self.visible = Visible(catalog)
        self.http = http
        self.clock = clock
        self.throttle = throttle or MemoryThrottle()
        self.mcp = mcp

    def open(  # noqa: PLR0913 (what differs between two runs, all named)
        self,
        *,
        tenant: str | None,
        run_id: str,
        grants: Grants,
        accounts: Accounts,
        tape: Tape,
        limits: Limits,
        recording: Recording | None = None,
        raises: bool = False,
        used_ms: int = 0,
        waiting: WaitTerms | None = None,
        parking: Parking | None = None,
        planning: Unplanned | None = None,
    ) -> RunBroker:
        """
        Begin to answer the calls of one run; its wall time counts from now, `used_ms` are used.

        `accounts` are those of `tenant`; `tape` is the tape of `run_id`, and `recording` what
        earlier attempts wrote on it. With `raises` a call of unknown effect is the script's error;
        else it ends the run. `waiting` says how calls may wait; those that may wait without a
        child are in `parking`. Without it calls wait in place, and nobody can be asked. `planning`
        says whether writes are made at once, only planned, or held to a plan.
        """
        recorded = Recorded(recording or Recording(), raises=raises)
        log = CallLog(tape, self.clock)
        made = Preparing(self, accounts, limits, tenant, run_id)
        run = RunBroker(made, grants, log, recorded=recorded, used_s=used_ms / 1000)
        run.tenant, run.raises = tenant, raises
        run.may_wait(waiting, parking)
        run.planning = planning or run.planning
        run.continues(recording)
        run.serves(self.mcp)
        return run


class RunBroker:
    """Answers the calls of one run. After the run ended in any way, `abandon` must be awaited."""

    tenant: str | None = None
    raises: bool = False

    def __init__(
        self,
        made: Preparing,
        grants: Grants,
        log: CallLog,
        *,
        recorded: Recorded,
        used_s: float = 0.0,
    ) -> None:
        self.broker = made.broker
        self.accounts = made.accounts
        self.limits = made.limits
        self._made = made
        self._log = log
        self._recorded = recorded
        self._grants = grants
        self._gate = Gate(grants)
        self._pending: list[Pending | Written] = []
        self._began_s = time.monotonic() - used_s
        self._waits = Waits(log, self.broker.clock, self._see_through)
        self._servers = RunServers(None, None, self._granted)
        self.planning = Unplanned()

    @property
    def calls(self) -> list[CallRecord]:
        """A record of every call, by number of call; the tape has the true order."""
        known = {record.seq: record for record in self._recorded.records}
        known |= {record.seq: record for record in self._log.records}
        return [known[seq] for seq in sorted(known)]

    @property
    def on_record(self) -> Callable[[CallRecord], None] | None:
        """Told of each record as it is made."""
        return self._log.on_record

    @on_record.setter
    def on_record(self, told: Callable[[CallRecord], None] | None) -> None:
        self._log.on_record = told

    def surface(self) -> Surface:
        """Give the granted functions under every name, and the accounts; `docs` always."""
        seen = self.broker.visible.surface(self._grants, self.accounts)
        tools = self._servers.surface()
        return Surface({**seen, **tools}) if tools else seen

    def serves(self, mcp: McpServers | None) -> None:
        """Let the script call the MCP servers of the run's tenant, as they are now."""
        self._servers = RunServers(mcp, self.tenant, self._granted)

    def may_wait(self, terms: WaitTerms | None, parking: Parking | None) -> None:
        """Say how calls may wait."""
        self._waits = Waits(self._log, self.broker.clock, self._see_through, terms, parking)

    @property
    def waiting(self) -> list[Wait]:
        """Give what the script waits for, by number of call."""
        return [self._waits.open[seq] for seq in sorted(self._waits.open)]

    def continues(self, recording: Recording | None) -> None:
        """Go on with numbers where the recording ends."""
        if recording is not None:
            self._log.replies = recording.replies

    def note_surface(self, sha256: str) -> None:
        """Take the digest of what the script sees, for the tape's next entry."""
        self._log.surface_sha256 = sha256

    def verdict(self, reason: Reason) -> Fault | None:
        """Tell whether the script, ended for `reason`, left the tape of earlier attempts."""
        return self._recorded.verdict(reason)

    async def call(self, call: Call) -> Reply | EndRun:
        """
        Answer one call, or end the run when nobody can tell what a write did.

        What is on the tape is answered from it; only what comes after may be sent.

        Calls of one run may be in flight together; the order of their effects on the tape stands
        in their replies.

        Raises:
            TapeError: the tape could not be written; nothing was sent after that.
            ThrottleUnavailable: nobody can say whether its request may go.
        """
        answer = self._recorded.answer(call)
        if answer is not None:
            self._recount(call)
            self.planning.learn(call.seq, answer)
            record = self._recorded.record(call.seq)
            if self._log.on_record is not None and record is not None:
                self._log.on_record(record)
            return await self._recorded.in_turn(answer)
        await self._recorded.played()
        before = self._recorded.waited(call.seq)
        if call.integration == RUN:
            return await self._waits.answer(call, before)
        return await self._live(call, self._recorded.lost(call.seq) or before)

    async def _live(self, call: Call, before: RecordedCall | None) -> Reply | EndRun:
        began_s = time.monotonic()
        function: Function | None = None
        account = call.account
        try:
            function, target = self._find(call)
            account = (account or "default") if function.spec else None
            self._check_grant(function, account)
            made = self._made.prepare(self._servers, function, account, call, target)
            facts = CallFacts.of(call, function.full_name, account, function.effect_class, began_s)
            candidate = Candidate(function, account, made.work, made.arguments, made.shown)
            facts = self.planning.place(facts, candidate)
            refused = await self._admit(facts, function, made, before)
            if refused is not None:
                return refused
            planned = self.planning.answer(candidate, call.seq)
            if planned is not None:
                return await self._reply_of(Pending.refused(facts, self._log, planned))
            lost = before if before is not None and before.lost else None
            if lost is not None:
                check_again(made.work, lost, self.broker.clock())
        except CallFailed as refusal:
            if before is not None and before.lost and before.effect_class is EffectClass.WRITE:
                return await self._in_doubt(call, before, refusal, began_s)
            return await self._refuse(call, function, account, refusal, began_s)
        self.planning.begin(facts)
        pending = Pending.done(
            *(facts, self._log, made.work, made.shown, self._bounds()),
            raises=self.raises,
            again=lost.began if lost is not None else None,
        )
        reply = await self._reply_of(pending)
        self.planning.learn(call.seq, reply)
        return reply

    async def _in_doubt(
        self, call: Call, before: RecordedCall, why: CallFailed, began_s: float
    ) -> Reply | EndRun:
        """Say that nobody knows what a call did; refusing it now does not undo it."""
        facts = CallFacts.of(call, before.name, before.account, before.effect_class, began_s)
        failure = why if why.effect is Effect.UNKNOWN else in_doubt(before, f"; now: {why.message}")
        pending = Pending.unknown(facts, self._log, failure, raises=self.raises)
        return await self._reply_of(pending)

    def _recount(self, call: Call) -> None:
        """Count a recorded call that was made: what earlier attempts used of a limit is used."""
        if not self._recorded.was_begun(call.seq):
            return
        with suppress(CallFailed):
            function, target = self._find(call)
            account = (call.account or "default") if function.spec else None
            # Not `prepare`: an account that is gone by now was used all the same.
            arguments = self._made.arguments(self._servers, function, call, target)
            if function.integration not in OPEN:
                self._gate.count(self._gate.admit(subject_of(function), account, arguments))

    async def abandon(self) -> None:
        """
        Write down what is known of calls in flight, after the run ended without their answers.

        Raises:
            TapeError: the tape could not be written.
            ThrottleUnavailable: nobody could say whether the request of one may go.
        """
        pending, self._pending = self._pending, []
        for one in pending:
            one.stop()
        ended = await asyncio.gather(*(one.task for one in pending), return_exceptions=True)
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def _reply_of(self, pending: Pending) -> Reply | EndRun:
        reply: Reply | EndRun = await self._see_through(pending)
        return reply

    async def _see_through(self, pending: Pending | Written) -> Any:
        self._pending.append(pending)
        try:
            return await asyncio.shield(pending.task)
        except asyncio.CancelledError:
            pending.stop()
            raise
        finally:
            # One that is not done stays in the list, for `abandon` to wait for.
            if pending.task.done() and pending in self._pending:
                self._pending.remove(pending)

    def _bounds(self) -> Bounds:
        used_s = time.monotonic() - self._began_s
        return Bounds(
            within_s=self.limits.wall_ms / 1000 - used_s,
            reply_bytes=self.limits.reply_bytes,
            depth=self.limits.depth,
        )

    # --- before anything is sent ----------------------------------------------------------------

    def _granted(self, function: Function) -> bool:
        return is_granted(self._gate, function)

    def _check_grant(self, function: Function, account: str | None) -> None:
        if function.integration not in OPEN:
            self._gate.check(subject_of(function), account)

    async def _admit(
        self, facts: CallFacts, function: Function, made: Prepared, before: RecordedCall | None
    ) -> Reply | EndRun | None:
        """See that exactly this call may be made, and count it: None. Only here is `ask` met."""
        if function.integration in OPEN:
            return None
        subject = subject_of(function)
        admission = self._gate.admit(subject, facts.account, made.arguments)
        if admission.asked_by is not None and not self.planning.approves(facts):
            question = question_of(facts.name, facts.account, made.shown)
            why = approval_required(subject, admission.asked_by)
            refused = await self._waits.approved(facts, question, before, why)
            if refused is not None:
                return refused
            # Others may have used up meanwhile what there was.
            admission = self._gate.admit(subject, facts.account, made.arguments)
        self._gate.count(admission)
        return None

    def _find(self, call: Call) -> tuple[Function, Target | None]:
        """Give what is called, and what is asked for it where an MCP server is."""
        target = self._servers.find(call, self.limits.depth)
        if target is not None:
            return target.function, target
        return self.broker.catalog.function(call.integration, call.function), None

    async def _refuse(
        self,
        call: Call,
        function: Function | None,
        account: str | None,
        refusal: CallFailed,
        began_s: float,
    ) -> Reply | EndRun:
        integration, short = printable(call.integration, 64), printable(call.function, 64)
        effect_class = EffectClass.READ
        if function is not None:
            integration, short = function.integration, function.name
            effect_class = function.effect_class
        shown = printable(account, 64) if account else None
        facts = CallFacts.of(call, f"{integration}.{short}", shown, effect_class, began_s)
        body = encode_failure(refusal, integration, shown, short)
        ending = Ending(refusal.effect, ok=False, body=body)
        return await self._reply_of(Pending.refused(facts, self._log, ending))
