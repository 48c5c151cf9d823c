"""One call of a vendor's function: its requests sent, its reply shaped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from core.calls import Effect, EffectClass
from integrations.accounts import Credentials
from integrations.arguments import deeper_than, refusal
from integrations.failure import CallFailed, printable
from integrations.function import Function
from integrations.redaction import scrub, scrub_text
from integrations.request import VendorRequest, build, build_parts
from integrations.request_parts import RequestParts
from integrations.sender import Bounds, Sender
from integrations.shaping import shaped
from integrations.throttle import ThrottleUnavailable
from integrations.vendor_http import Progress

#: Most requests an adapter may send for one call.
MAX_STEPS = 20
_FATES = {
    Effect.SUCCEEDED: "; the call itself succeeded",
    Effect.UNKNOWN: "; it was sent and may have been done",
}


@dataclass(frozen=True, slots=True)
class Value:
    """A successful reply: JSON text and, from a vendor, the HTTP status."""

    body: bytes
    status: int | None = None


@dataclass(slots=True)
class VendorCall:
    """
    One call, ready to be carried out once.

    `request` is None when an adapter makes the requests of `arguments`.
    """

    sender: Sender
    credentials: Credentials
    arguments: dict[str, Any]
    request: VendorRequest | None

    @property
    def function(self) -> Function:
        """What is called."""
        return self.sender.function

    @property
    def progress(self) -> Progress:
        """Shows, at any moment, whether a request may have left."""
        return self.sender.progress

    @property
    def idempotency_key(self) -> str | None:
        """
        The key by which the vendor knows this call again; None: it may be sent once only.

        An adapter has none for all its requests: sent again, they need not be the same ones.
        """
        function = self.sender.function
        if self.request is None or function.effect_class is not EffectClass.WRITE:
            return None
        return self.sender.identity.key(1) if self.sender.idempotency is not None else None

    async def carry_out(self, bounds: Bounds) -> Value:
        """
        Send, and give the value.

        Raises:
            CallFailed: there is no value; its `effect` says what was done.
            ThrottleUnavailable: nobody can say whether a request may go; it was not sent.
        """
        within_s = min(bounds.within_s, self.sender.timeouts.total_s)
        deadline_s = asyncio.get_running_loop().time() + within_s
        if self.request is not None:
            write = self.function.effect_class is EffectClass.WRITE
            value = await self.sender.send(self.request, bounds, deadline_s, write=write)
        else:
            value = await self._adapted(AdapterSend(self, bounds, deadline_s))
            if deeper_than(value, bounds.depth):
                # Adapters take JSON out of texts, which no reply's own depth bounds.
                problem = f"is nested deeper than {bounds.depth} levels"
                raise self.sender.unusable("reply_too_deep", problem)
        value = shaped(value, self.sender.spec.response)
        body = scrub(orjson.dumps(value), value, self.sender.secrets)
        if len(body) > bounds.reply_bytes:
            problem = f"is larger than {bounds.reply_bytes} bytes"
            raise self.sender.unusable("reply_too_large", problem)
        return Value(body, self.sender.status)

    async def _adapted(self, send: AdapterSend) -> Any:
        adapter = self.function.adapter
        if adapter is None:
            raise TypeError(f"{self.function.full_name} has neither request nor adapter")
        try:
            value = await adapter(self.arguments, send)
            orjson.dumps(value)
        except ThrottleUnavailable:
            raise
        except CallFailed as failure:
            # Refused between two of its requests: what the earlier ones did stays done.
            if self.progress.wrote and failure.effect is Effect.FAILED:
                failure.effect = Effect.SUCCEEDED
            raise
        except Exception as error:  # noqa: BLE001 (whatever a vendor's odd reply did to it)
            # Its words could hold the reply or arguments; its kind and place are enough.
            name, kind = self.function.full_name, type(error).__name__
            structlog.get_logger(__name__).error("adapter_broke", function=name, kind=kind)
            raise self.sender.unusable("invalid_reply", "is not what was expected") from None
        return value


class AdapterSend:
    """What an adapter sends with; see `integrations.adapters.Send`."""

    def __init__(self, call: VendorCall, bounds: Bounds, deadline_s: float) -> None:
        self._call = call
        self._bounds = bounds
        self._deadline_s = deadline_s

    async def __call__(self, parts: RequestParts) -> Any:
        """Send what an adapter made; give the JSON value of the reply."""
        sender = self._call.sender
        request = build_parts(sender.function, sender.pack, parts, self._call.credentials)
        write = parts.method != "GET" if parts.write is None else parts.write
        return await self._send(request, write=write)

    async def mapped(self, arguments: Mapping[str, Any]) -> Any:
        """Send what the pack makes of arguments; give the JSON value of the reply."""
        sender = self._call.sender
        request = build(sender.function, sender.pack, arguments, self._call.credentials)
        write = sender.function.effect_class is EffectClass.WRITE
        return await self._send(request, write=write)

    def refuse(self, problem: str) -> CallFailed:
        """Make the error that refuses arguments before anything was sent."""
        return refusal(self._call.function, problem)

    def failed(self, code: str, problem: str, *, effect: Effect | None = None) -> CallFailed:
        """Make the error for a reply that says no or cannot be used; see `Send.failed`."""
        sender = self._call.sender
        if effect is Effect.FAILED:
            sender.progress.wrote = False
        done = effect or (Effect.SUCCEEDED if sender.progress.wrote else Effect.FAILED)
        # The words may be the vendor's: no credential, one printable line.
        words = printable(scrub_text(problem, sender.secrets))
        text = f"{sender.function.full_name}: {words}{_FATES.get(done, '')}"
        return CallFailed(code, text, effect=done, status=sender.status)

    def setting(self, field: str) -> str | None:
        """Give a field of the account that is no secret."""
        value = self._call.credentials.values.get(field)
        return value if isinstance(value, str) else None

    async def _send(self, request: VendorRequest, *, write: bool) -> Any:
        sender = self._call.sender
        if write and sender.function.effect_class is not EffectClass.WRITE:
            raise TypeError(f"{sender.function.full_name} is marked as reading and sends a write")
        if sender.steps >= MAX_STEPS:
            raise CallFailed(
                "too_many_requests",
                f"{sender.function.full_name}: one call sends at most {MAX_STEPS} requests",
            )
        return await sender.send(request, self._bounds, self._deadline_s, write=write)
