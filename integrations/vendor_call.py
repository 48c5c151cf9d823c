"""One call of a vendor's function: send, send again where that is safe, and read the answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import orjson

from core.calls import Effect, EffectClass
from core.clock import Clock
from integrations.accounts import Credentials
from integrations.arguments import deeper_than
from integrations.failure import CallFailed
from integrations.function import Function
from integrations.pack import FunctionPack, Pack, Timeouts
from integrations.redaction import scrub
from integrations.request import VendorRequest
from integrations.shaping import shaped
from integrations.vendor_errors import BUSY, refused, retry_after_s, silent
from integrations.vendor_http import Answer, NoAnswer, NoAnswerKind, Progress, VendorHttp

#: How often a reading call is sent at most, and how long is waited between when nobody says.
MAX_ATTEMPTS = 3
_BACKOFF_S = (0.2, 0.8)
#: A vendor that asks for a longer wait than this gets no second try; the script is told.
MAX_RETRY_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one call may use: seconds, bytes of reply, levels of nesting."""

    within_s: float
    reply_bytes: int
    depth: int


@dataclass(frozen=True, slots=True)
class Value:
    """A successful reply: JSON text and, from a vendor, the HTTP status."""

    body: bytes
    status: int | None = None


@dataclass(slots=True)
class VendorCall:
    """
    One call, ready to be carried out once.

    `spec` and `pack` are those of `function`. `progress` shows, at any moment, whether the last
    request may have left.
    """

    function: Function
    spec: FunctionPack
    pack: Pack
    credentials: Credentials
    request: VendorRequest
    http: VendorHttp
    clock: Clock
    progress: Progress = field(default_factory=Progress)

    @property
    def timeouts(self) -> Timeouts:
        """The function's own timeouts, else the integration's."""
        return self.spec.timeouts or self.pack.timeouts

    def secrets(self) -> list[str]:
        """Give every text that must not come back: the secret fields, and what is made of them."""
        made = self.request.authorization.reveal().rpartition(" ")[2]
        return [*self.credentials.secrets(), made]

    async def carry_out(self, bounds: Bounds) -> Value:
        """
        Send, and give the value.

        Raises:
            CallFailed: there is no value; its `effect` says what was done.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + min(bounds.within_s, self.timeouts.total_s)
        for attempt in range(MAX_ATTEMPTS):
            last = attempt == MAX_ATTEMPTS - 1
            self.progress.sent, self.progress.status = False, None
            try:
                answer = await self._send(deadline_s - loop.time(), bounds)
            except NoAnswer as why:
                wait_s = None if last else self._wait_after_silence(why, attempt)
                failure = silent(self.function, self.pack, why)
            else:
                if answer.status in self.spec.response.success:
                    return self._read(answer, bounds)
                wait_s = None if last else self._wait_after_answer(answer, attempt)
                failure = self._refused(answer)
            if wait_s is None or loop.time() + wait_s >= deadline_s:
                raise failure
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt always returns or raises")

    async def _send(self, within_s: float, bounds: Bounds) -> Answer:
        return await self.http.exchange(
            self.request,
            self.timeouts,
            within_s=within_s,
            max_bytes=bounds.reply_bytes,
            progress=self.progress,
        )

    def _refused(self, answer: Answer) -> CallFailed:
        return refused(self.function, self.pack, answer, self.secrets(), self.clock() / 1000)

    def _wait_after_silence(self, why: NoAnswer, attempt: int) -> float | None:
        """Give the seconds to wait before sending again; None: do not."""
        # Nothing had left: sending again is the first time, for writes as well.
        unsent = not why.sent and why.kind is NoAnswerKind.UNREACHABLE
        read_again = (
            self.function.effect_class is EffectClass.READ
            and why.kind is NoAnswerKind.DROPPED
            and why.status is None
        )
        return _BACKOFF_S[attempt] if unsent or read_again else None

    def _wait_after_answer(self, answer: Answer, attempt: int) -> float | None:
        if self.function.effect_class is not EffectClass.READ or answer.status not in BUSY:
            return None
        asked_s = retry_after_s(answer, self.clock() / 1000)
        if asked_s is None:
            return _BACKOFF_S[attempt]
        return asked_s if asked_s <= MAX_RETRY_AFTER_S else None

    def _read(self, answer: Answer, bounds: Bounds) -> Value:
        try:
            value = orjson.loads(answer.body) if answer.body.strip() else None
        except orjson.JSONDecodeError:
            raise self._unusable("invalid_reply", "is not JSON", answer.status) from None
        if deeper_than(value, bounds.depth):
            problem = f"is nested deeper than {bounds.depth} levels"
            raise self._unusable("reply_too_deep", problem, answer.status)
        value = shaped(value, self.spec.response)
        body = scrub(orjson.dumps(value), value, self.secrets())
        if len(body) > bounds.reply_bytes:
            problem = f"is larger than {bounds.reply_bytes} bytes"
            raise self._unusable("reply_too_large", problem, answer.status)
        return Value(body, answer.status)

    def _unusable(self, code: str, problem: str, status: int) -> CallFailed:
        write = self.function.effect_class is EffectClass.WRITE
        done = "; the call itself succeeded" if write else ""
        return CallFailed(
            code,
            f"{self.function.full_name}: the reply of {self.pack.title} {problem}{done}",
            effect=Effect.SUCCEEDED if write else Effect.FAILED,
            status=status,
        )
