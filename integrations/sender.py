"""Sends the requests of one call, again where that is safe, and reads their answers."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson

from core.calls import Effect
from core.clock import Clock
from integrations.arguments import deeper_than
from integrations.failure import NOT_SENT, CallFailed
from integrations.function import Function
from integrations.pack import FunctionPack, Pack
from integrations.pack_wire import Idempotency, Retry, Timeouts
from integrations.quota_gate import QUOTA_EXCEEDED, used_up_text
from integrations.request import VendorRequest
from integrations.shaping import at, read_body
from integrations.throttle import Gate, QuotaUsedUp, Throttle
from integrations.vendor_errors import Asked, refused, retry_after_s, silent
from integrations.vendor_http import Answer, NoAnswer, NoAnswerKind, Progress, VendorHttp

#: A vendor that asks for a longer wait than this gets no second try; the script is told.
MAX_RETRY_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one call may use: seconds, bytes of reply, levels of nesting."""

    within_s: float
    reply_bytes: int
    depth: int


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Which call of which run this is: the same again means the same call.

    `account` names tenant, integration and account, as rates are counted. `tenant` is empty for
    local runs.
    """

    run_id: str
    seq: int
    function: str
    arguments_sha256: str
    account: str
    tenant: str = ""

    def key(self, step: int) -> str:
        """Give the idempotency key of a request of this call: 64 hexadecimal digits."""
        parts = [self.run_id, self.seq, self.function, self.arguments_sha256, step]
        return hashlib.sha256(orjson.dumps(parts)).hexdigest()


@dataclass(slots=True)
class Sender:
    """Sends requests of one call, one after the other. `spec` and `pack` are of `function`."""

    function: Function
    spec: FunctionPack
    pack: Pack
    secrets: list[str]
    http: VendorHttp
    clock: Clock
    throttle: Throttle
    identity: Identity
    progress: Progress = field(default_factory=Progress)
    status: int | None = None
    steps: int = 0

    @property
    def timeouts(self) -> Timeouts:
        """The function's own timeouts, else the integration's."""
        return self.spec.timeouts or self.pack.timeouts

    @property
    def retry(self) -> Retry:
        """The function's own retry rule, else the integration's."""
        return self.spec.retry or self.pack.retry

    @property
    def idempotency(self) -> Idempotency | None:
        """How the vendor tells a repeated write from a new one."""
        return self.spec.idempotency or self.pack.idempotency

    async def send(
        self, request: VendorRequest, bounds: Bounds, deadline_s: float, *, write: bool
    ) -> Any:
        """
        Send one request and give the JSON value of its answer.

        Raises:
            CallFailed: there is no value; its `effect` says what was done.
            ThrottleUnavailable: nobody can say whether the request may go; it was not sent.
        """
        loop = asyncio.get_running_loop()
        self.steps += 1
        asked = Asked(self.function, self.pack, write)
        again = not write or self.idempotency is not None
        request = self._keyed(request) if write else request
        for attempt in range(self.retry.attempts):
            last = attempt == self.retry.attempts - 1
            self.progress.sent, self.progress.status, self.progress.write = False, None, write
            try:
                answer = await self._pass(request, bounds, deadline_s)
            except NoAnswer as why:
                wait_s = None if last else self._wait_after_silence(why, attempt, again=again)
                failure = silent(asked, why)
            else:
                if self.spec.response.accepts(answer.status):
                    return self._accepted(answer, asked, bounds)
                wait_s = None if last else self._wait_after_answer(answer, attempt, again=again)
                failure = refused(asked, answer, self.secrets, self.clock() / 1000)
            self.progress.doubt |= failure.effect is Effect.UNKNOWN
            if wait_s is None or loop.time() + wait_s >= deadline_s:
                raise self._final(failure)
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt always returns or raises")

    def _keyed(self, request: VendorRequest) -> VendorRequest:
        if self.idempotency is None:
            return request
        headers = {**request.headers, self.idempotency.header: self.identity.key(self.steps)}
        return VendorRequest(
            request.method, request.url, request.secret_headers, request.body, headers,
            request.local,
        )  # fmt: skip

    async def _pass(self, request: VendorRequest, bounds: Bounds, deadline_s: float) -> Answer:
        """Wait for a place under the account's rates and concurrency, then send once."""
        loop = asyncio.get_running_loop()
        gate = self._gate(max(1.0, deadline_s - loop.time()))
        if gate is not None:
            await self._enter(gate, deadline_s)
        try:
            return await self.http.exchange(
                request,
                self.timeouts,
                within_s=deadline_s - loop.time(),
                max_bytes=bounds.reply_bytes,
                accepts=self.spec.response.accepts,
                progress=self.progress,
            )
        finally:
            if gate is not None:
                await self.throttle.leave(gate)

    def _gate(self, lease_s: float) -> Gate | None:
        bucket = self.spec.rate or self.pack.rate
        rate = self.pack.rates[bucket] if bucket else None
        lease = self.identity.key(-self.steps)
        known = self.identity
        whose = (known.tenant, known.run_id, self.function.integration)
        gate = Gate(known.account, bucket, rate, self.pack.concurrency, lease, lease_s, *whose)
        return gate if gate.bounds else None

    async def _enter(self, gate: Gate, deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                wait_s = await self.throttle.enter(gate)
            except QuotaUsedUp as used_up:
                self._held(QUOTA_EXCEEDED, used_up_text(used_up), used_up.wait_s)
            if wait_s <= 0:
                return
            if loop.time() + wait_s >= deadline_s:
                what = "the rate of this account is used up" if gate.rate else "too many at once"
                self._held("rate_limited", what, wait_s)
            await asyncio.sleep(wait_s)

    def _held(self, code: str, why: str, wait_s: float | None) -> NoReturn:
        sent = "the request was not sent" if self.steps > 1 or self.progress.doubt else NOT_SENT
        failure = CallFailed(
            code,
            f"{self.function.full_name}: {why}; {sent}",
            retry_after_s=wait_s and round(wait_s, 3),
            retriable=True,
        )
        raise self._final(failure)

    def _final(self, failure: CallFailed) -> CallFailed:
        """Give the failure with what earlier requests of this call did."""
        if self.progress.doubt and failure.effect is not Effect.UNKNOWN:
            failure.effect = Effect.UNKNOWN
            failure.message += "; an earlier try was sent and may have been done"
        elif self.progress.wrote and failure.effect is not Effect.UNKNOWN:
            failure.effect = Effect.SUCCEEDED
            failure.message += "; an earlier step of this call changed something"
        failure.retriable = failure.retriable and failure.effect is Effect.FAILED
        return failure

    def _wait_after_silence(self, why: NoAnswer, attempt: int, *, again: bool) -> float | None:
        """Give the seconds to wait before sending again; None: do not."""
        # Nothing had left: sending again is the first time, for writes as well.
        unsent = not why.sent and why.kind is NoAnswerKind.UNREACHABLE
        lost = again and why.kind is NoAnswerKind.DROPPED and why.status is None
        return self.retry.wait_s(attempt) if unsent or lost else None

    def _wait_after_answer(self, answer: Answer, attempt: int, *, again: bool) -> float | None:
        if not again or answer.status not in self.retry.statuses:
            return None
        asked_s = retry_after_s(answer, self.clock() / 1000)
        if asked_s is None:
            return self.retry.wait_s(attempt)
        return asked_s if asked_s <= MAX_RETRY_AFTER_S else None

    def _accepted(self, answer: Answer, asked: Asked, bounds: Bounds) -> Any:
        self.status = answer.status
        self.progress.doubt = False
        wrote_before = self.progress.wrote
        self.progress.wrote |= asked.write
        try:
            value = read_body(answer.body, self.spec.response.content)
        except ValueError:
            kind = "JSON" if self.spec.response.content == "json" else "UTF-8 text"
            raise self.unusable("invalid_reply", f"is not {kind}") from None
        require = self.spec.response.require
        if require is not None and at(value, require.at) != require.equals:
            self.progress.wrote = wrote_before
            raise refused(asked, answer, self.secrets, self.clock() / 1000)
        if deeper_than(value, bounds.depth):
            problem = f"is nested deeper than {bounds.depth} levels"
            raise self.unusable("reply_too_deep", problem)
        return value

    def unusable(self, code: str, problem: str) -> CallFailed:
        """Make the error for a reply that came and cannot be used."""
        done = "; the call itself succeeded" if self.progress.wrote else ""
        return CallFailed(
            code,
            f"{self.function.full_name}: the reply of {self.pack.title} {problem}{done}",
            effect=Effect.SUCCEEDED if self.progress.wrote else Effect.FAILED,
            status=self.status,
        )
