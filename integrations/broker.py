"""
Answers the calls of runs: the only way from a script to anything outside.

Runs in: worker. Trusts: the catalog, the accounts, the grants; of a vendor only that it was asked.
Refuses: what is not granted, unknown functions and accounts, arguments that do not fit, and to
send anything whose intent is not on the tape. May import: integrations, tenancy, ledger, core,
sandbox vocabulary; never Redis.

Order of every call: granted? known account? arguments valid? then the intent is written to the
tape, then the vendor is asked, then the effect is written, then the script gets its reply.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.calls import CallRecord, Effect, EffectClass
from core.clock import Clock
from core.errors import NotFound
from integrations.accounts import Accounts
from integrations.arguments import bind, first_argument
from integrations.catalog import Catalog
from integrations.failure import NOT_SENT, CallFailed, encode_failure, printable
from integrations.function import Function
from integrations.local_call import LocalCall
from integrations.redaction import preview
from integrations.request import build
from integrations.vendor_call import Bounds, Value, VendorCall
from integrations.vendor_http import VendorHttp
from ledger.tape import Kind, Tape
from sandbox.calls import Call, EndRun, FunctionSurface, Reply
from sandbox.limits import Limits
from sandbox.outcome import Reason
from tenancy.grants import Grants


class Broker:
    """What all runs of one worker share: the catalog, the connections and the clock."""

    def __init__(self, catalog: Catalog, http: VendorHttp, clock: Clock) -> None:
        self.catalog = catalog
        self.http = http
        self.clock = clock

    def open(  # noqa: PLR0913 (what differs between two runs, all named)
        self,
        *,
        tenant: str | None,
        run_id: str,
        grants: Grants,
        accounts: Accounts,
        tape: Tape,
        limits: Limits,
    ) -> RunBroker:
        """Begin to answer the calls of one run; its wall time counts from now."""
        return RunBroker(self, tenant, run_id, grants, accounts, tape, limits)


@dataclass(slots=True)
class _Pending:
    """One call whose intent is on the tape and whose effect is not yet."""

    work: VendorCall | LocalCall
    task: asyncio.Task[Reply | EndRun] | None = None
    #: True while the vendor is being asked: only then may the task be cancelled.
    asking: bool = False
    abandoned: bool = False

    def stop(self) -> None:
        """Stop asking. What was done so far is written down by the task itself."""
        self.abandoned = True
        if self.asking and self.task is not None:
            # Once only: a second one could strike while the effect is being written down.
            self.asking = False
            self.task.cancel()


@dataclass(slots=True)
class RunBroker:
    """
    Answers the calls of one run.

    `calls` holds a record of every call that ended, in the order they ended; `on_record` is told
    of each. After the run ended in any way, `abandon` must be awaited.
    """

    broker: Broker
    tenant: str | None
    run_id: str
    grants: Grants
    accounts: Accounts
    tape: Tape
    limits: Limits
    calls: list[CallRecord] = field(default_factory=list)
    on_record: Callable[[CallRecord], None] | None = None
    _pending: dict[int, _Pending] = field(default_factory=dict)
    _began_s: float = field(default_factory=time.monotonic)
    _tape_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def surface(self) -> dict[str, FunctionSurface]:
        """Give the granted functions under every name, and the accounts; `docs` always."""
        surface = {}
        for integration in self.broker.catalog.integrations.values():
            granted = [one for one in integration.functions if self._granted(one)]
            names = [name for one in granted for name in one.names]
            accounts = self.accounts.names(integration.name) if integration.pack else ["default"]
            if names:
                surface[integration.name] = FunctionSurface(tuple(names), tuple(accounts))
        return surface

    async def call(self, call: Call) -> Reply | EndRun:
        """
        Answer one call, or end the run when nobody can tell what a write did.

        Raises:
            TapeError: the tape could not be written; nothing was sent after that.
        """
        began_s = time.monotonic()
        try:
            function = self.broker.catalog.function(call.integration, call.function)
        except CallFailed as refusal:
            return await self._refuse(call, None, call.account, refusal, began_s)
        account = (call.account or "default") if function.spec else None
        try:
            self._check_grant(function)
            work, shown = self._prepare(function, account, call)
        except CallFailed as refusal:
            return await self._refuse(call, function, account, refusal, began_s)
        await self._append(
            Kind.INTENT,
            {
                "seq": call.seq,
                "name": function.full_name,
                "account": account,
                "effect_class": function.effect_class.value,
                "arguments_sha256": hashlib.sha256(call.arguments).hexdigest(),
                "preview": shown,
            },
        )
        return await self._do(call, work, account, began_s)

    async def abandon(self) -> None:
        """
        Write down what is known of calls in flight, after the run ended without their answers.

        Raises:
            TapeError: the tape could not be written.
        """
        pending = list(self._pending.values())
        self._pending.clear()
        for one in pending:
            one.stop()
        tasks = [one.task for one in pending if one.task is not None]
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    # --- before anything is sent ----------------------------------------------------------------

    def _granted(self, function: Function) -> bool:
        return function.integration == "docs" or self.grants.allows(
            function.integration, function.name, function.effect_class
        )

    def _check_grant(self, function: Function) -> None:
        if not self._granted(function):
            name = function.full_name
            raise CallFailed(
                "denied",
                f"{name} is not granted to this run; it needs the grant"
                f" {function.integration}:{function.effect_class} or {name}; {NOT_SENT}",
                effect=Effect.DENIED,
            )

    def _prepare(
        self, function: Function, account: str | None, call: Call
    ) -> tuple[VendorCall | LocalCall, str]:
        """Check account and arguments; give the work to do and the preview of it."""
        depth = self.limits.depth
        if function.raw:
            given = first_argument(function, call.arguments, depth=depth)
            return LocalCall(function, given), preview(given, ())
        pack = self.broker.catalog.integrations[function.integration].pack
        if function.spec is None or pack is None or account is None:
            arguments = bind(function, call.arguments, depth=depth)
            return LocalCall(function, arguments), preview(arguments, ())
        try:
            credentials = self.accounts.get(function.integration, account)
        except NotFound as missing:
            hint = f" {missing.hint}" if missing.hint else ""
            raise CallFailed(
                "unknown_account", f"{function.full_name}: {missing.detail};{hint} {NOT_SENT}"
            ) from None
        arguments = bind(function, call.arguments, depth=depth)
        request = build(function, pack, arguments, credentials)
        work = VendorCall(
            function=function,
            spec=function.spec,
            pack=pack,
            credentials=credentials,
            request=request,
            http=self.broker.http,
            clock=self.broker.clock,
        )
        return work, preview(arguments, pack.redact, work.secrets())

    async def _refuse(
        self,
        call: Call,
        function: Function | None,
        account: str | None,
        refusal: CallFailed,
        began_s: float,
    ) -> Reply:
        """Write the refusal to the tape and give it. There is no intent: nothing was to be sent."""
        name = function.full_name if function else printable(call.name, 130)
        shown_account = printable(account, 64) if account else None
        integration, short = (printable(word, 64) for word in (call.integration, call.function))
        if function is not None:
            integration, short = function.integration, function.name
        body = encode_failure(refusal, integration, shown_account, short)
        effect_class = function.effect_class if function else EffectClass.READ
        record = CallRecord(
            seq=call.seq,
            name=name,
            account=shown_account,
            effect_class=effect_class,
            effect=refusal.effect,
            duration_ms=_ms_since(began_s),
        )
        about = {
            "name": name,
            "account": shown_account,
            "effect_class": effect_class.value,
            "arguments_sha256": hashlib.sha256(call.arguments).hexdigest(),
        }
        return await self._conclude(record, body, ok=False, status=None, about=about)

    # --- doing it -------------------------------------------------------------------------------

    async def _do(
        self, call: Call, work: VendorCall | LocalCall, account: str | None, began_s: float
    ) -> Reply | EndRun:
        pending = _Pending(work)
        self._pending[call.seq] = pending
        # A task of its own: whoever waits for the reply may be cancelled at any moment, but once
        # something was sent, what became of it has to reach the tape.
        task = asyncio.create_task(self._ask_and_record(call, pending, account, began_s))
        pending.task = task
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            pending.stop()  # and stays in the list, for `abandon` to wait for
            raise
        except BaseException:
            self._pending.pop(call.seq, None)
            raise
        self._pending.pop(call.seq, None)
        return answer

    async def _ask_and_record(
        self, call: Call, pending: _Pending, account: str | None, began_s: float
    ) -> Reply | EndRun:
        function = pending.work.function
        value: Value | None = None
        failure: CallFailed | None = None
        try:
            value = await self._ask(pending)
        except CallFailed as failed:
            failure = failed
        except asyncio.CancelledError:
            failure = _abandoned(function, sent=pending.work.progress.sent)
        record = CallRecord(
            seq=call.seq,
            name=function.full_name,
            account=account,
            effect_class=function.effect_class,
            effect=Effect.SUCCEEDED if failure is None else failure.effect,
            duration_ms=_ms_since(began_s),
        )
        body = value.body if value else b"null"
        if failure is not None:
            body = encode_failure(failure, function.integration, account, function.name)
        status = value.status if value else failure.status if failure else None
        reply = await self._conclude(record, body, ok=failure is None, status=status)
        if record.effect is Effect.UNKNOWN and failure is not None:
            return EndRun(Reason.EFFECT_UNKNOWN, failure.message, _UNKNOWN_HINT)
        return reply

    async def _ask(self, pending: _Pending) -> Value:
        if pending.abandoned:
            raise _abandoned(pending.work.function, sent=False)
        bounds = Bounds(
            within_s=self.limits.wall_ms / 1000 - (time.monotonic() - self._began_s),
            reply_bytes=self.limits.reply_bytes,
            depth=self.limits.depth,
        )
        pending.asking = True
        try:
            return await pending.work.carry_out(bounds)
        finally:
            pending.asking = False

    async def _conclude(
        self,
        record: CallRecord,
        body: bytes,
        *,
        ok: bool,
        status: int | None,
        about: dict[str, Any] | None = None,
    ) -> Reply:
        """Write the effect, keep the record, give the reply, in this order."""
        clock_ms = self.broker.clock()
        await self._append(
            Kind.EFFECT,
            {
                "seq": record.seq,
                **(about or {}),
                "effect": record.effect.value,
                "duration_ms": record.duration_ms,
                "status": status,
                "ok": ok,
                "reply": body.decode(),
                "clock_ms": clock_ms,
            },
        )
        self.calls.append(record)
        if self.on_record is not None:
            self.on_record(record)
        return Reply(ok, body, clock_ms)

    async def _append(self, kind: Kind, body: dict[str, Any]) -> None:
        # The tape has one writer that counts; two entries at once would get one number.
        async with self._tape_lock:
            await self.tape.append(kind, body)


_UNKNOWN_HINT = (
    "look at the vendor whether it was done before running this again; it is never sent twice"
)


def _abandoned(function: Function, *, sent: bool) -> CallFailed:
    unknown = sent and function.effect_class is EffectClass.WRITE
    return CallFailed(
        "abandoned",
        f"{function.full_name}: the run ended before the answer came"
        + ("; it was sent and may have been done" if unknown else ""),
        effect=Effect.UNKNOWN if unknown else Effect.FAILED,
    )


def _ms_since(began_s: float) -> int:
    return round((time.monotonic() - began_s) * 1000)
