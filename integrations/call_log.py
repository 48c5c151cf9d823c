"""What is kept of a run's calls: intents and effects on its tape, records for its result."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.calls import CallRecord, Effect, EffectClass
from core.clock import Clock
from ledger.tape import Kind, Tape
from sandbox.calls import Call, Reply


@dataclass(frozen=True, slots=True)
class CallFacts:
    """
    What is known of a call before it is carried out.

    `name` and `account` are safe to show, `began_s` is monotonic time in seconds.
    """

    seq: int
    name: str
    account: str | None
    effect_class: EffectClass
    arguments_sha256: str
    began_s: float

    @classmethod
    def of(
        cls, call: Call, name: str, account: str | None, effect_class: EffectClass, began_s: float
    ) -> CallFacts:
        """Take the facts of a call; the digest is of its arguments as the script sent them."""
        digest = hashlib.sha256(call.arguments).hexdigest()
        return cls(call.seq, name, account, effect_class, digest, began_s)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended. `body` is the JSON text of the reply; `status` a vendor's HTTP status."""

    effect: Effect
    ok: bool
    body: bytes
    status: int | None = None


@dataclass(slots=True)
class CallLog:
    """
    Writes the tape of one run and keeps its records.

    Calls may be in flight together. `records` are in the order of their effects on the tape;
    `on_record` is told of each.
    """

    tape: Tape
    clock: Clock
    records: list[CallRecord] = field(default_factory=list)
    on_record: Callable[[CallRecord], None] | None = None
    # The tape has one writer that counts; two entries at once would get one number.
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def intent(self, facts: CallFacts, preview: str) -> None:
        """
        Write that a call is about to be made.

        Raises:
            TapeError: it is not written; the call must not be made.
        """
        async with self._lock:
            await self.tape.append(Kind.INTENT, {**_told(facts), "preview": preview})

    async def effect(self, facts: CallFacts, ending: Ending, *, refused: bool = False) -> Reply:
        """
        Write what a call did, keep its record, and give the reply, in this order.

        The reply carries its effect's place among all effects on the tape: two calls that end
        together may wake those who wait for them in the other order.

        A refused call has no intent, since nothing was to be sent: its effect tells all.

        Raises:
            TapeError: it is not written; the script must not learn the reply.
        """
        about = _told(facts) if refused else {"seq": facts.seq}
        async with self._lock:
            clock_ms = self.clock()
            record = _record(facts, ending)
            done = {
                "effect": ending.effect.value,
                "duration_ms": record.duration_ms,
                "status": ending.status,
                "ok": ending.ok,
                "reply": ending.body.decode(),
                "clock_ms": clock_ms,
            }
            await self.tape.append(Kind.EFFECT, {**about, **done})
            self.records.append(record)
            order = len(self.records)
            if self.on_record is not None:
                self.on_record(record)
        return Reply(ending.ok, ending.body, clock_ms, order)


def _record(facts: CallFacts, ending: Ending) -> CallRecord:
    return CallRecord(
        seq=facts.seq,
        name=facts.name,
        account=facts.account,
        effect_class=facts.effect_class,
        effect=ending.effect,
        duration_ms=round((time.monotonic() - facts.began_s) * 1000),
    )


def _told(facts: CallFacts) -> dict[str, Any]:
    return {
        "seq": facts.seq,
        "name": facts.name,
        "account": facts.account,
        "effect_class": facts.effect_class.value,
        "arguments_sha256": facts.arguments_sha256,
    }
