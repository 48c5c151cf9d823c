"""A schedule between what is kept in Redis and what is shown."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from runs.redis_scripts import Arg
from runs.store import redis_errors
from tenancy.key_record import KeyRecord
from triggers.schedules import FireCounts, Schedule, ScheduleDraft, ScheduleState
from triggers.timing import Timing, read_timing

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: The time in Unix milliseconds, as Redis has it.
RedisClock = Callable[[], Awaitable[int]]
_COUNTS = tuple(FireCounts.model_fields)
#: Fields of the hash that are read to show a schedule or to fire it.
FIELDS = (
    *("tenant", "rev", "spec", "anchor_ms", "state", "reason", "key_id", "key_tenant"),
    *("created_ms", "updated_ms", "maker_grants", "next_ms", "last_fire_ms", "last_run"),
    *("starting", "starting_ms", "current"),
    *_COUNTS,
)


@dataclass(frozen=True, slots=True)
class Maker:
    """The key that makes or changes a schedule, and the rules that it has then, if any."""

    key: KeyRecord
    grants: list[str | dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Kept:
    """
    What is kept of a schedule. `rev` grows with each change, and is 0 before it is first kept.

    `anchor_ms` is when its timing was given: what `every_s` counts from. `key_tenant` is the
    tenant that keeps the key `key_id`: another one for an operator's key. `maker_grants` are the
    rules that this key had when it made or changed the schedule; None: it had none.
    """

    id: str
    tenant: str
    draft: ScheduleDraft
    anchor_ms: int
    created_ms: int
    updated_ms: int
    key_id: str
    key_tenant: str
    maker_grants: list[str | dict[str, Any]] | None
    state: ScheduleState = ScheduleState.ACTIVE
    rev: int = 0

    def timing(self) -> Timing:
        """Give when it fires; of one that is over, when it did."""
        draft = self.draft
        return _timing(draft.cron, draft.every_s, draft.at, draft.time_zone, self.anchor_ms)

    def with_draft(
        self, draft: ScheduleDraft, anchor_ms: int, now_ms: int, maker: Maker, state: ScheduleState
    ) -> Kept:
        """Give what is kept after a change by `maker`."""
        return replace(
            self,
            draft=draft,
            anchor_ms=anchor_ms,
            updated_ms=now_ms,
            key_id=maker.key.id,
            key_tenant=maker.key.owner,
            maker_grants=maker.grants,
            state=state,
        )


@lru_cache(maxsize=4096)
def _timing(
    cron: str | None, every_s: int | None, at: str | None, zone: str, anchor_ms: int
) -> Timing:
    return read_timing(cron, every_s, at, zone=zone, now_ms=anchor_ms)


def spec_of(kept: Kept) -> list[Arg]:
    """Give the fields and values of the hash."""
    fields: dict[str, Arg] = {
        "spec": orjson.dumps(kept.draft.model_dump()),
        "overlap": kept.draft.overlap,
        "anchor_ms": kept.anchor_ms,
        "state": kept.state.value,
        "key_id": kept.key_id,
        "key_tenant": kept.key_tenant,
        "created_ms": kept.created_ms,
        "updated_ms": kept.updated_ms,
        "maker_grants": b"" if kept.maker_grants is None else orjson.dumps(kept.maker_grants),
    }
    return [part for pair in fields.items() for part in pair]


def of_fields(
    schedule_id: str, known: Mapping[str, bytes], waiting: int = 0
) -> tuple[Schedule, Kept]:
    """Give a schedule as it is shown and as it is kept."""
    spec: dict[str, Any] = orjson.loads(known["spec"])
    kept = Kept(
        id=schedule_id,
        tenant=known["tenant"].decode(),
        draft=ScheduleDraft(**spec),
        anchor_ms=int(known["anchor_ms"]),
        created_ms=int(known["created_ms"]),
        updated_ms=int(known["updated_ms"]),
        key_id=known["key_id"].decode(),
        key_tenant=known["key_tenant"].decode(),
        maker_grants=orjson.loads(known["maker_grants"]) if known.get("maker_grants") else None,
        state=ScheduleState(known["state"].decode()),
        rev=int(known["rev"]),
    )
    shown = Schedule(
        **spec,
        id=schedule_id,
        state=kept.state,
        reason=known["reason"].decode() if "reason" in known else None,
        key_id=kept.key_id,
        created_ms=kept.created_ms,
        updated_ms=kept.updated_ms,
        next_fire_ms=_number(known, "next_ms"),
        last_fire_ms=_number(known, "last_fire_ms"),
        last_run=known["last_run"].decode() if "last_run" in known else None,
        counts=FireCounts(**{name: _number(known, name) or 0 for name in _COUNTS}),
        waiting=waiting,
    )
    return shown, kept


async def redis_clock(redis: Redis) -> int:
    """
    Give Redis' time in Unix milliseconds: one clock for all hosts.

    Raises:
        Unavailable: Redis does not answer.
    """
    with redis_errors():
        seconds, micros = await redis.time()
    return seconds * 1000 + micros // 1000


class SteadyClock:
    """
    Redis' time, asked for at most once a second; between, what passes here is added.

    A jump of Redis' clock is seen within a second.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._asked = self._answer_ms = 0.0

    async def __call__(self) -> int:
        """
        Give the time in Unix milliseconds.

        Raises:
            Unavailable: Redis does not answer.
        """
        passed = time.monotonic() - self._asked
        if not self._answer_ms or passed >= 1:
            self._answer_ms = await redis_clock(self._redis)
            self._asked, passed = time.monotonic(), 0.0
        return int(self._answer_ms + passed * 1000)


def _number(known: Mapping[str, bytes], name: str) -> int | None:
    text = known.get(name)
    return int(text) if text else None
