"""
How the service is, for health checks and metrics: what waits, who works, how the ledger keeps up.

Runs in: api. Trusts: Redis. Refuses: to take longer than it was given, or to look at more tenants
than a script may without holding up the others. May import: core, redis.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from core import keys
from core.clock import now_ms
from core.redis_client import takes_no_writes
from runs.redis_scripts import load

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: A scheduler writes its sign of life every 5 s.
SCHEDULER_SILENCE_MS = 30_000
#: Tenants with something queued that are looked at.
MAX_TENANTS = 500
#: In one step of Redis, which holds up everybody meanwhile: a tenant takes some 20 us.
_AT_ONCE = 25
_READY_TTL_S = 60
_WORKERS = "rq:workers"
_FIELDS = ("last_heartbeat", "death", "slots")


@dataclass(frozen=True, slots=True)
class Vitals:
    """
    Who is alive, and what Redis and the ledger have before them.

    `refusal` says why Redis takes no writes, None when it does. `memory_limit_bytes` is 0 for none.
    `inbox_oldest_s` is the age of what waits longest for the sequencer, 0.0 when nothing does.
    """

    answered_s: float
    refusal: str | None
    memory_bytes: int
    memory_limit_bytes: int
    inbox: int
    inbox_oldest_s: float
    sequencer: bool
    schedulers: int
    workers: int
    slots: int
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class TenantQueue:
    """What one tenant has queued, all priorities together."""

    tenant: str
    depth: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Queues:
    """
    What is queued. `queued` and `oldest_s` are of the tenants that were looked at.

    `partial` tells that there were more than `MAX_TENANTS`; `deepest` are the deepest of them,
    deepest first; `capped` counts tenants that have something queued and are at their cap.
    """

    queued: int
    oldest_s: float
    tenants: int
    capped: int
    partial: bool
    deepest: tuple[TenantQueue, ...]


async def vitals(redis: Redis, *, silence_s: float, within_s: float) -> Vitals:
    """
    Look who is alive; a worker that was silent for `silence_s` seconds is not.

    Raises:
        RedisError, TimeoutError: Redis did not answer within `within_s` seconds.
    """
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        pipe: Any = redis.pipeline(transaction=False)
        pipe.set(keys.READY, now_ms(), ex=_READY_TTL_S)
        pipe.info("memory")
        pipe.xlen(keys.LEDGER_INBOX)
        pipe.xrange(keys.LEDGER_INBOX, count=1)
        pipe.exists(keys.LEDGER_LOCK)
        pipe.zcount(keys.SCHEDULERS, now_ms() - SCHEDULER_SILENCE_MS, "+inf")
        pipe.zcard(keys.LEASES)
        pipe.zcard(keys.WAITING)
        pipe.smembers(_WORKERS)
        written, memory, inbox, first, lock, *rest = await pipe.execute(raise_on_error=False)
        for reply in (memory, inbox, first, lock, *rest):
            if isinstance(reply, Exception):
                raise reply
        answered_s = time.monotonic() - began
        schedulers, running, waiting, names = rest
        slots = await _live_slots(redis, names, silence_s)
    return Vitals(
        answered_s=answered_s,
        refusal=_refusal(written),
        memory_bytes=int(memory.get("used_memory", 0)),
        memory_limit_bytes=int(memory.get("maxmemory", 0)),
        inbox=inbox,
        inbox_oldest_s=_age_of_entry(first),
        sequencer=bool(lock),
        schedulers=schedulers,
        workers=len(slots),
        slots=sum(slots),
        running=running,
        waiting=waiting,
    )


async def queues(redis: Redis, *, names: int, within_s: float) -> Queues:
    """
    Look into the queues, and name the `names` deepest.

    Raises:
        RedisError, TimeoutError: Redis did not answer within `within_s` seconds.
    """
    found: list[TenantQueue] = []
    async with asyncio.timeout(within_s):
        pipe: Any = redis.pipeline(transaction=False)
        pipe.zcard(keys.RING)
        pipe.scard(keys.PARKED)
        pipe.zrange(keys.RING, 0, MAX_TENANTS - 1)
        pipe.srandmember(keys.PARKED, MAX_TENANTS)
        ringed, parked, *lists = await pipe.execute()
        # Whoever came from one to the other in between is there once.
        tenants = list(dict.fromkeys([*lists[0], *lists[1]]))[:MAX_TENANTS]
        for at in range(0, len(tenants), _AT_ONCE):
            some = tenants[at : at + _AT_ONCE]
            rows = await load("survey").run_async(redis, some)
            found += [
                TenantQueue(tenant.decode(), depth, _age_s(oldest))
                for tenant, (depth, oldest) in zip(some, rows, strict=True)
                if depth
            ]
    return Queues(
        queued=sum(one.depth for one in found),
        oldest_s=max((one.oldest_s for one in found), default=0.0),
        tenants=ringed + parked,
        capped=parked,
        partial=ringed + parked > MAX_TENANTS,
        deepest=tuple(sorted(found, key=lambda one: -one.depth)[:names]),
    )


async def ended(redis: Redis, *, within_s: float) -> dict[str, int]:
    """
    Give how many runs ended for each reason, since Redis began to count.

    Raises:
        RedisError, TimeoutError: Redis did not answer within `within_s` seconds.
    """
    ask: Any = redis.hgetall
    async with asyncio.timeout(within_s):
        found = await ask(keys.ENDED)
    return {reason.decode(): int(count) for reason, count in found.items()}


async def _live_slots(redis: Redis, names: set[bytes], silence_s: float) -> list[int]:
    pipe: Any = redis.pipeline(transaction=False)
    for name in names:
        pipe.hmget(name, *_FIELDS)
    rows = await pipe.execute() if names else []
    return [
        int(slots or 0)
        for heartbeat, death, slots in rows
        if death is None and heartbeat and _age_s(heartbeat) < silence_s
    ]


def _refusal(written: Any) -> str | None:
    if not isinstance(written, Exception):
        return None
    if isinstance(written, RedisError) and not takes_no_writes(written):
        raise written
    return str(written)


def _age_of_entry(rows: Any) -> float:
    if not rows:
        return 0.0
    return max(0.0, (now_ms() - int(rows[0][0].partition(b"-")[0])) / 1000)


def _age_s(at: bytes | None) -> float:
    """Give the age of a time of RQ's; 0.0 of none, infinite of one that cannot be read."""
    if not at:
        return 0.0
    try:
        when = datetime.fromisoformat(at.decode())
    except ValueError:
        return math.inf
    when = when.replace(tzinfo=when.tzinfo or UTC)
    return max(0.0, (datetime.now(UTC) - when).total_seconds())
