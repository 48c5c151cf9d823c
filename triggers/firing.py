"""
Firing schedules: each moment once, however many schedulers there are and whenever they die.

Runs in: scheduler. Trusts: Redis, also for the time. Refuses: to start what its key may not.
May import: stdlib, redis, structlog, core, runs, triggers.

1. TURN, a script of Redis, tells which schedules are due, and which fires were begun by somebody
   who did not start their runs.
2. FIRE takes what is due of one schedule and moves it on: of two schedulers one does it. A fire
   that is begun stands in a set from then on, with the id of the run that it starts.
3. The run is started. Its id follows from schedule and moment: started twice, it is one run.
4. SETTLE takes the fire out of the set and writes into the history what came of it.

Whoever dies between two of these leaves a fire in the set: `RETRY_MS` later another takes it on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from core import keys
from core.errors import Refused
from runs.redis_scripts import Arg, load
from runs.store import RunStore, redis_errors
from triggers.fire_start import Begun, FireStarter
from triggers.schedule_record import FIELDS, Kept, RedisClock, SteadyClock, of_fields
from triggers.schedules import Schedule
from triggers.starting import run_id_of
from triggers.timing import Jitter, due_now

if TYPE_CHECKING:
    from redis.asyncio import Redis

RETRY_MS = 3_000
#: How often is looked for what others have made or changed.
LONGEST_REST_MS = 250
_POSTPONED_MS = 60_000
_MOST = 100
_AT_ONCE = 32

T = TypeVar("T")


class Firing:
    """What one scheduler does about all schedules. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, store: RunStore, clock: RedisClock | None = None) -> None:
        self._redis = redis
        self._store = store
        self._clock = clock or SteadyClock(redis)
        self._starter = FireStarter(redis, store, self._clock)

    async def turn(self) -> float:
        """
        Do what is due; give the seconds until there may be more.

        Raises:
            Unavailable: Redis does not answer; what was begun is gone on with in a later turn.
        """
        now_ms = await self._clock()
        with redis_errors():
            found: Any = await load("schedule_turn").run_async(
                self._redis, [now_ms, now_ms + RETRY_MS, _MOST]
            )
        due, starting, cancel, soonest = found
        await _each(self._cancel, [one.decode() for one in cancel])
        begun = [Begun.read(one) for one in starting]
        rows = await self._read([one.member for one in begun])
        await _each(self._start, list(zip(begun, rows, strict=True)))
        members = [one.decode() for one in in_turns(due)]
        rows = await self._read(members)
        await _each(self._fire, list(zip(members, rows, strict=True)))
        if len(due) == _MOST or len(starting) >= _MOST:
            return 0.0
        rest_ms = LONGEST_REST_MS
        if soonest:
            rest_ms = min(rest_ms, int(float(soonest)) - await self._clock())
        return max(rest_ms, 0) / 1000

    # --- parts ----------------------------------------------------------------------------------

    async def _start(self, what: tuple[Begun, Row]) -> None:
        """Start the run of a fire that was begun before."""
        one, row = what
        try:
            found = _read(one.member, row)
        except _BROKEN:
            found = None
        await self._starter.start(one, None if found is None else found[1])

    async def _fire(self, what: tuple[str, Row]) -> None:
        """Take what is due of one schedule, and start what it begins."""
        member, row = what
        now_ms = await self._clock()
        try:
            found = _read(member, row)
            args = None if found is None else _fire_args(member, *found, now_ms)
        except _BROKEN as broken:
            # Nobody can tell when it fires: it is looked at again, and the others go on.
            log = structlog.get_logger(__name__)
            log.warning("schedule_broken", schedule=member, exc_info=broken)
            await self._put_off(member, now_ms + _POSTPONED_MS)
            return
        if found is None:  # gone with its tenant
            await self._put_off(member, None)
        if found is None or args is None:
            return
        with redis_errors():
            answer: Any = await load("schedule_fire").run_async(self._redis, args)
        if answer is None:
            return
        cancel, *begun = (one.decode() for one in answer)
        if cancel:
            await self._cancel(f"{member.partition('|')[0]}|{cancel}")
        for fire_ms, run_id in zip(begun[::2], begun[1::2], strict=True):
            await self._starter.start(Begun(member, int(fire_ms), run_id), found[1])

    async def _put_off(self, member: str, until_ms: int | None) -> None:
        with redis_errors():
            if until_ms is None:
                await self._redis.zrem(keys.SCHEDULES_DUE, member)
            else:
                await self._redis.zadd(keys.SCHEDULES_DUE, {member: until_ms}, xx=True)

    async def _cancel(self, what: str) -> None:
        tenant, _, run_id = what.partition("|")
        try:
            await self._store.cancel(tenant, run_id)
        except Refused:
            return  # it has ended and is gone

    async def _read(self, members: Sequence[str]) -> list[Row]:
        if not members:
            return []
        pipe = self._redis.pipeline(transaction=False)
        for member in members:
            pipe.hmget(keys.schedule(member.partition("|")[2]), list(FIELDS))
        with redis_errors():
            found: list[Row] = await pipe.execute()
        return found


#: The fields of a schedule, as HMGET gives them.
Row = list[bytes | None]
#: What a record says that none of us wrote.
_BROKEN = (ValueError, TypeError, KeyError, Refused)


def _read(member: str, row: Row) -> tuple[Schedule, Kept] | None:
    """Give a schedule; None when it is gone, or is not this tenant's."""
    tenant, _, schedule_id = member.partition("|")
    known = {name: value for name, value in zip(FIELDS, row, strict=True) if value is not None}
    if known.get("tenant", b"").decode() != tenant:
        return None
    return of_fields(schedule_id, known)


def _fire_args(member: str, shown: Schedule, kept: Kept, now_ms: int) -> list[Arg] | None:
    if shown.next_fire_ms is None:
        return None
    jitter = Jitter(kept.id, kept.draft.jitter_s * 1000)
    policy = (kept.draft.missed, kept.draft.missed_max)
    due = due_now(kept.timing(), jitter, shown.next_fire_ms, now_ms, policy)
    if not due.fires and not due.missed:
        return None
    next_ms = due.next_ms
    runs = {one: run_id_of(kept.id, "fire", one) for one in due.fires}
    return [
        *(member, kept.id, kept.rev, shown.next_fire_ms, now_ms, now_ms + RETRY_MS),
        *("" if next_ms is None else next_ms, 0 if next_ms is None else jitter.due_ms(next_ms)),
        *(due.missed, due.missed_from_ms, due.missed_until_ms),
        *(part for pair in runs.items() for part in pair),
    ]


def in_turns(members: Sequence[bytes]) -> list[bytes]:
    """Give one of each tenant, then another of each: a tenant with many delays only its own."""
    places: dict[bytes, int] = {}
    ranked = []
    for member in members:
        tenant = member.partition(b"|")[0]
        places[tenant] = places.get(tenant, 0) + 1
        ranked.append((places[tenant], member))
    return [member for _, member in sorted(ranked, key=lambda pair: pair[0])]


async def _each(do: Callable[[T], Awaitable[None]], todo: Sequence[T]) -> None:
    """Do something with all, some at once; the first error is raised when the others are done."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(what: T) -> None:
        async with limit:
            await do(what)

    results = await asyncio.gather(*(one(what) for what in todo), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
