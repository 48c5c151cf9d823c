"""What is kept of a run's calls: intents and effects on its tape, records for its result."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
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

    `name` and `account` are safe to show, `began_s` is monotonic time in seconds. `asked` is how
    the script named integration, account and function. `write` is its number in the plan that the
    run is held to.
    """

    seq: int
    name: str
    account: str | None
    effect_class: EffectClass
    arguments_sha256: str
    began_s: float
    asked: tuple[str, str | None, str]
    write: int | None = None

    @classmethod
    def of(
        cls, call: Call, name: str, account: str | None, effect_class: EffectClass, began_s: float
    ) -> CallFacts:
        """Take the facts of a call; the digest is of its arguments as the script sent them."""
        digest = hashlib.sha256(call.arguments).hexdigest()
        asked = (call.integration, call.account, call.function)
        return cls(call.seq, name, account, effect_class, digest, began_s, asked)


@dataclass(frozen=True, slots=True)
class Ending:
    """
    How a call ended. `body` is the JSON text of the reply; `status` a vendor's HTTP status.

    `planned` is what the tape keeps of a call that was only planned.
    """

    effect: Effect
    ok: bool
    body: bytes
    status: int | None = None
    planned: Mapping[str, Any] | None = None


@dataclass(slots=True)
class CallLog:
    """
    Writes the tape of one run and keeps its records.

    Calls may be in flight together. `records` are in the order of their effects on the tape;
    `on_record` is told of each. `replies` counts those on the tape, of earlier attempts too.
    `surface_sha256` goes into the first entry that is written: what the script sees is an input.
    """

    tape: Tape
    clock: Clock
    records: list[CallRecord] = field(default_factory=list)
    on_record: Callable[[CallRecord], None] | None = None
    replies: int = 0
    surface_sha256: str | None = None
    # The tape has one writer that counts; two entries at once would get one number.
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def intent(
        self, facts: CallFacts, preview: str, *, key: str | None = None, again: int | None = None
    ) -> None:
        """
        Write that a call is about to be made.

        `key` is the idempotency key it is sent with; `again` the number of the entry by which an
        earlier attempt, that was lost, had begun the same call.

        Raises:
            TapeError: it is not written; the call must not be made.
        """
        body = {**_told(facts), "preview": preview}
        if key is not None:
            body["idempotency_key"] = key
        if again is not None:
            body["again"] = again
        if facts.write is not None:
            body["write"] = facts.write
        async with self._lock:
            await self._append(Kind.INTENT, body)

    async def waiting(self, facts: CallFacts, kind: str, until_ms: int, preview: str) -> None:
        """
        Write that a call waits, to `until_ms` at the longest, before it goes on.

        Raises:
            TapeError: it is not written; the wait must not begin.
        """
        body = {**_told(facts), "for": kind, "until_ms": until_ms}
        if preview:
            body["preview"] = preview
        async with self._lock:
            await self._append(Kind.WAITING, body)

    async def answered(self, seq: int, answer: Mapping[str, Any]) -> None:
        """
        Write what a person said of a call that waits.

        Raises:
            TapeError: it is not written; the call must not go on.
        """
        async with self._lock:
            await self._append(Kind.ANSWERED, {"seq": seq, **answer})

    async def effect(
        self, facts: CallFacts, ending: Ending, *, refused: bool = False, abandoned: bool = False
    ) -> Reply:
        """
        Write what a call did, keep its record, and give the reply, in this order.

        The reply carries its effect's place among all effects on the tape: two calls that end
        together may wake those who wait for them in the other order.

        A refused call has no intent, since nothing was to be sent: its effect tells all.
        An abandoned one has no script that could get the reply: it takes no place among them.

        Raises:
            TapeError: it is not written; the script must not learn the reply.
        """
        about = _told(facts) if refused else {"seq": facts.seq}
        async with self._lock:
            clock_ms = self.clock()
            record = _record(facts, ending)
            done: dict[str, Any] = {
                "effect": ending.effect.value,
                "duration_ms": record.duration_ms,
                "status": ending.status,
                "ok": ending.ok,
                "reply": ending.body.decode(),
                "clock_ms": clock_ms,
            }
            if abandoned:
                done["abandoned"] = True
            if ending.planned is not None:
                done["planned"] = ending.planned
            await self._append(Kind.EFFECT, {**about, **done})
            self.records.append(record)
            self.replies += not abandoned
            order = self.replies
            if self.on_record is not None:
                self.on_record(record)
        return Reply(ending.ok, ending.body, clock_ms, order)

    async def _append(self, kind: Kind, body: dict[str, Any]) -> None:
        if self.surface_sha256 is not None:
            body["surface_sha256"] = self.surface_sha256
        await self.tape.append(kind, body)
        self.surface_sha256 = None


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
        "asked": facts.asked,
        "name": facts.name,
        "account": facts.account,
        "effect_class": facts.effect_class.value,
        "arguments_sha256": facts.arguments_sha256,
    }
