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
import hashlib
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from core.calls import CallRecord, Effect, EffectClass
from core.clock import Clock
from core.errors import NotFound
from integrations.accounts import Accounts, Credentials
from integrations.arguments import bind, first_argument
from integrations.call_log import CallFacts, CallLog, Ending
from integrations.catalog import Catalog
from integrations.failure import NOT_SENT, CallFailed, encode_failure, printable
from integrations.function import Function, Integration
from integrations.gate import Gate, Subject, approval_required
from integrations.local_call import LocalCall
from integrations.mcp.run_servers import McpServers, RunServers, Target
from integrations.pack import FunctionPack, Pack
from integrations.pending import Pending, Work
from integrations.recorded import Recorded
from integrations.redaction import preview
from integrations.request import auth_headers, build
from integrations.resend import check_again, in_doubt
from integrations.sender import Bounds, Identity, Sender
from integrations.throttle import MemoryThrottle, Throttle
from integrations.vendor_call import VendorCall
from integrations.vendor_http import VendorHttp
from ledger.recording import RecordedCall, Recording
from ledger.tape import Tape
from sandbox.calls import Call, EndRun, FunctionSurface, Reply
from sandbox.limits import Limits
from sandbox.outcome import Fault, Reason
from tenancy.grants import Grants

#: What every run may call: it only tells what a run may do otherwise.
_OPEN = frozenset({"docs", "mcp"})


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
    ) -> RunBroker:
        """
        Begin to answer the calls of one run; its wall time counts from now.

        `accounts` are those of `tenant`; `tape` is the tape of `run_id`, and `recording` what
        earlier attempts wrote on it. With `raises` a call of unknown effect is the script's error;
        else it ends the run.
        """
        recorded = Recorded(recording or Recording(), raises=raises)
        log = CallLog(tape, self.clock)
        run = RunBroker(self, grants, accounts, log, limits=limits, recorded=recorded)
        run.tenant, run.run_id, run.raises = tenant, run_id, raises
        run.continues(recording)
        run.serves(self.mcp)
        return run


class RunBroker:
    """Answers the calls of one run. After the run ended in any way, `abandon` must be awaited."""

    tenant: str | None = None
    run_id: str = ""
    raises: bool = False

    def __init__(  # noqa: PLR0913 (the parts of one run, each once)
        self,
        broker: Broker,
        grants: Grants,
        accounts: Accounts,
        log: CallLog,
        *,
        limits: Limits,
        recorded: Recorded,
    ) -> None:
        self.broker = broker
        self.accounts = accounts
        self.limits = limits
        self._log = log
        self._recorded = recorded
        self._gate = Gate(grants)
        self._pending: list[Pending] = []
        self._began_s = time.monotonic()
        self._servers = RunServers(None, None, self._granted)

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

    def surface(self) -> dict[str, FunctionSurface]:
        """Give the granted functions under every name, and the accounts; `docs` always."""
        surface = {}
        for integration in self.broker.catalog.integrations.values():
            granted = [one for one in integration.functions if self._granted(one)]
            names = [name for one in granted for name in one.names]
            if names:
                accounts = self._accounts(integration, granted)
                surface[integration.name] = FunctionSurface(tuple(names), accounts)
        return surface | self._servers.surface()

    def serves(self, mcp: McpServers | None) -> None:
        """Let the script call the MCP servers of the run's tenant, as they are now."""
        self._servers = RunServers(mcp, self.tenant, self._granted)

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
        """
        answer = self._recorded.answer(call)
        if answer is not None:
            self._recount(call)
            return await self._recorded.in_turn(answer)
        await self._recorded.played()
        return await self._live(call, self._recorded.lost(call.seq))

    async def _live(self, call: Call, before: RecordedCall | None) -> Reply | EndRun:
        began_s = time.monotonic()
        function: Function | None = None
        account = call.account
        try:
            function, target = self._find(call)
            account = (account or "default") if function.spec else None
            self._check_grant(function, account)
            work, shown = self._prepare(function, account, call, target)
            if before is not None:
                check_again(work, before, self.broker.clock())
        except CallFailed as refusal:
            if before is not None and before.effect_class is EffectClass.WRITE:
                return await self._in_doubt(call, before, refusal, began_s)
            return await self._refuse(call, function, account, refusal, began_s)
        facts = CallFacts.of(call, function.full_name, account, function.effect_class, began_s)
        pending = Pending.done(
            *(facts, self._log, work, shown, self._bounds()),
            raises=self.raises,
            again=before.began if before is not None else None,
        )
        return await self._see_through(pending)

    async def _in_doubt(
        self, call: Call, before: RecordedCall, why: CallFailed, began_s: float
    ) -> Reply | EndRun:
        """Say that nobody knows what a call did; refusing it now does not undo it."""
        facts = CallFacts.of(call, before.name, before.account, before.effect_class, began_s)
        failure = why if why.effect is Effect.UNKNOWN else in_doubt(before, f"; now: {why.message}")
        pending = Pending.unknown(facts, self._log, failure, raises=self.raises)
        return await self._see_through(pending)

    def _recount(self, call: Call) -> None:
        """Count a recorded call that was made: what earlier attempts used of a limit is used."""
        if not self._recorded.was_begun(call.seq):
            return
        with suppress(CallFailed):
            function, target = self._find(call)
            account = (call.account or "default") if function.spec else None
            # Not `_prepare`: an account that is gone by now was used all the same.
            self._admit(function, account, self._arguments(function, call, target))

    async def abandon(self) -> None:
        """
        Write down what is known of calls in flight, after the run ended without their answers.

        Raises:
            TapeError: the tape could not be written.
        """
        pending, self._pending = self._pending, []
        for one in pending:
            one.stop()
        ended = await asyncio.gather(*(one.task for one in pending), return_exceptions=True)
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def _see_through(self, pending: Pending) -> Reply | EndRun:
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
        return function.integration in _OPEN or self._gate.has(_subject(function))

    def _accounts(self, integration: Integration, granted: Iterable[Function]) -> tuple[str, ...]:
        if integration.pack is None:
            return ("default",)
        known = self.accounts.names(integration.name)
        usable = {name for one in granted for name in self._gate.accounts(_subject(one), known)}
        return tuple(name for name in known if name in usable)

    def _check_grant(self, function: Function, account: str | None) -> None:
        if function.integration not in _OPEN:
            self._gate.check(_subject(function), account)

    def _admit(self, function: Function, account: str | None, arguments: Any) -> None:
        """See that exactly this call may be made, and count it. Only here is `ask` met."""
        if function.integration in _OPEN:
            return
        subject = _subject(function)
        admission = self._gate.admit(subject, account, arguments)
        if admission.asked_by is not None:
            raise approval_required(subject, admission.asked_by)
        self._gate.count(admission)

    def _find(self, call: Call) -> tuple[Function, Target | None]:
        """Give what is called, and what is asked for it where an MCP server is."""
        target = self._servers.find(call, self.limits.depth)
        if target is not None:
            return target.function, target
        return self.broker.catalog.function(call.integration, call.function), None

    def _prepare(
        self, function: Function, account: str | None, call: Call, target: Target | None
    ) -> tuple[Work, str]:
        """Check account and arguments; give the work to do and the preview of it."""
        if target is not None:
            served, arguments, shown = self._servers.prepare(target, self.limits.depth)
            self._admit(function, account, arguments)
            return served, shown
        pack = self.broker.catalog.integrations[function.integration].pack
        if function.spec is None or pack is None or account is None:
            arguments = self._arguments(function, call, None)
            self._admit(function, account, arguments)
            return LocalCall(function, arguments), preview(arguments, ())
        credentials = self._credentials(function, account)
        arguments = self._arguments(function, call, None)
        sender = self._sender(function, function.spec, pack, credentials, call)
        adapted = function.adapter is not None
        request = None if adapted else build(function, pack, arguments, credentials)
        self._admit(function, account, arguments)
        work = VendorCall(sender, credentials, arguments, request)
        return work, preview(arguments, pack.redact, sender.secrets)

    def _arguments(self, function: Function, call: Call, target: Target | None) -> Any:
        depth = self.limits.depth
        if target is not None:
            return self._servers.prepare(target, depth)[1]
        if function.raw:
            return first_argument(function, call.arguments, depth=depth)
        return bind(function, call.arguments, depth=depth)

    def _sender(
        self,
        function: Function,
        spec: FunctionPack,
        pack: Pack,
        credentials: Credentials,
        call: Call,
    ) -> Sender:
        owner = f"{self.tenant or ''}/{pack.name}/{credentials.account}"
        digest = hashlib.sha256(call.arguments).hexdigest()
        # What is made of a secret is one too: the part of a header after its scheme, and how it
        # is written in an address.
        plain = credentials.secrets()
        made = [one.reveal().rpartition(" ")[2] for one in auth_headers(pack, credentials).values()]
        made += [quote(one, safe="") for one in plain]
        return Sender(
            function=function,
            spec=spec,
            pack=pack,
            secrets=list(dict.fromkeys([*plain, *made])),
            http=self.broker.http,
            clock=self.broker.clock,
            throttle=self.broker.throttle,
            identity=Identity(self.run_id, call.seq, function.full_name, digest, owner),
        )

    def _credentials(self, function: Function, account: str) -> Credentials:
        try:
            return self.accounts.get(function.integration, account)
        except NotFound as missing:
            hint = f" {missing.hint}" if missing.hint else ""
            raise CallFailed(
                "unknown_account", f"{function.full_name}: {missing.detail};{hint} {NOT_SENT}"
            ) from None

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
        return await self._see_through(Pending.refused(facts, self._log, ending))


def _subject(function: Function) -> Subject:
    return Subject.of(function.integration, function.names, function.effect_class)
