"""
Firing schedules: each moment once, however many schedulers there are and whenever they die.

Runs in: scheduler. Trusts: Redis, also for the time. Refuses: to start what its key may not.
May import: stdlib, orjson, redis, structlog, core, runs, tenancy, triggers.

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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import structlog

from core import keys
from core.errors import QuotaExceeded, Refused, Unavailable
from runs.origin import Origin, OriginKind
from runs.redis_scripts import Arg, load
from runs.store import RunStore, redis_errors
from triggers.schedule_record import FIELDS, Kept, RedisClock, of_fields, redis_clock
from triggers.schedule_store import asked_by
from triggers.schedules import Schedule
from triggers.scripts import ScriptMissing
from triggers.starting import KeyUnfit, Starter, run_id_of
from triggers.timing import Jitter, due_now

if TYPE_CHECKING:
    from redis.asyncio import Redis

RETRY_MS = 3_000
#: A fire that could not be started for so long has failed.
GIVE_UP_MS = 600_000
#: How often is looked for what others have made or changed.
LONGEST_REST_MS = 250
_QUOTA_MS = 10_000
_AWAY_MS = 1_000
_POSTPONED_MS = 60_000
_MOST = 100
_AT_ONCE = 16
_REASON_CHARS = 300

T = TypeVar("T")
Settled = Literal["started", "failed", "suspended", "later"]


@dataclass(frozen=True, slots=True)
class Begun:
    """A fire whose run is to be started. `member` is `tenant|schedule`."""

    member: str
    fire_ms: int
    run_id: str

    @property
    def tenant(self) -> str:
        """Give whose schedule it is."""
        return self.member.partition("|")[0]

    @property
    def schedule(self) -> str:
        """Give the id of the schedule."""
        return self.member.partition("|")[2]


class Firing:
    """What one scheduler does about all schedules. Owns nothing; the connection is its maker's."""

    def __init__(
        self,
        redis: Redis,
        store: RunStore,
        clock: RedisClock | None = None,
    ) -> None:
        self._redis = redis
        self._store = store
        self._starter = Starter(redis, store)
        self._clock = clock or (lambda: redis_clock(redis))

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
        await _each(self._start, [_begun(one.decode()) for one in starting])
        await _each(self._fire, [one.decode() for one in _in_turns(due)])
        if len(due) == _MOST or len(starting) >= _MOST:
            return 0.0
        rest_ms = LONGEST_REST_MS
        if soonest:
            rest_ms = min(rest_ms, int(float(soonest)) - await self._clock())
        return max(rest_ms, 0) / 1000

    # --- parts ----------------------------------------------------------------------------------

    async def _fire(self, member: str) -> None:
        """Take what is due of one schedule, and start what it begins."""
        now_ms = await self._clock()
        try:
            found = await self._read(member)
            if found is None:  # gone with its tenant
                await self._redis.zrem(keys.SCHEDULES_DUE, member)
            args = None if found is None else _fire_args(member, *found, now_ms)
        except (ValueError, TypeError, KeyError, Refused) as broken:
            # Nobody can tell when it fires: it is looked at again, and the others go on.
            log = structlog.get_logger(__name__)
            log.warning("schedule_broken", schedule=member, exc_info=broken)
            with redis_errors():
                await self._redis.zadd(
                    keys.SCHEDULES_DUE, {member: now_ms + _POSTPONED_MS}, xx=True
                )
            return
        if args is None:
            return
        with redis_errors():
            answer: Any = await load("schedule_fire").run_async(self._redis, args)
        if answer is None:
            return
        cancel, *begun = (one.decode() for one in answer)
        if cancel:
            await self._cancel(f"{member.partition('|')[0]}|{cancel}")
        for fire_ms, run_id in zip(begun[::2], begun[1::2], strict=True):
            await self._start(Begun(member, int(fire_ms), run_id))

    async def _start(self, one: Begun) -> None:
        """Start the run of a fire, and settle it."""
        found = await self._read(one.member)
        now_ms = await self._clock()
        if found is None:
            await self._settle(one, now_ms, "failed")
            return
        _, kept = found
        how, why, again_ms = await self._try(one, kept)
        if how == "later" and now_ms - await self._begun_ms(one, now_ms) > GIVE_UP_MS:
            how = "failed"
        await self._settle(one, now_ms, how, why, now_ms + again_ms)

    async def _try(self, one: Begun, kept: Kept) -> tuple[Settled, str, int]:
        """Start a run; give how that went, why it went wrong, and when to try again if so."""
        log = structlog.get_logger(__name__).bind(schedule=one.schedule, tenant=one.tenant)
        try:
            if not await self._was_started(one):
                await self._start_run(one, kept)
        except (KeyUnfit, ScriptMissing) as gone:
            log.warning("schedule_suspended", reason=gone.detail)
            return "suspended", gone.detail, 0
        except QuotaExceeded as full:
            return "later", full.detail, min(full.retry_after_s * 1000, _QUOTA_MS)
        except Refused as wrong:
            return "failed", wrong.detail, 0
        except Unavailable as away:
            return "later", away.detail, _AWAY_MS
        except Exception as ours:  # our bug in one schedule must not stop the others
            log.warning("fire_broken", error=type(ours).__name__, exc_info=ours)
            return "later", "an error of ours", _QUOTA_MS
        return "started", "", 0

    async def _start_run(self, one: Begun, kept: Kept) -> None:
        await self._starter.start(
            one.tenant,
            kept.draft.script_ref,
            kept.draft.input,
            origin=Origin(kind=OriginKind.SCHEDULE, id=one.schedule),
            key_id=kept.key_id,
            key_tenant=kept.key_tenant,
            run_id=one.run_id,
            maker_grants=kept.maker_grants,
            **asked_by(kept.draft),
        )

    async def _was_started(self, one: Begun) -> bool:
        # A record may have expired by the time a scheduler comes back; the list of runs is longer.
        with redis_errors():
            known = await self._redis.zscore(keys.tenant_runs(one.tenant), one.run_id)
        return known is not None

    async def _settle(
        self, one: Begun, now_ms: int, how: Settled, why: str = "", again_ms: int = 0
    ) -> None:
        args: list[Arg] = [one.member, one.schedule, one.fire_ms, one.run_id, now_ms]
        with redis_errors():
            await load("schedule_settle").run_async(
                self._redis, [*args, how, why[:_REASON_CHARS], again_ms]
            )

    async def _cancel(self, what: str) -> None:
        tenant, _, run_id = what.partition("|")
        try:
            await self._store.cancel(tenant, run_id)
        except Refused:
            return  # it has ended and is gone

    async def _begun_ms(self, one: Begun, now_ms: int) -> int:
        with redis_errors():
            found = await cast(
                "Awaitable[bytes | None]",
                self._redis.hget(keys.schedule(one.schedule), "starting_ms"),
            )
        return int(found) if found else now_ms

    async def _read(self, member: str) -> tuple[Schedule, Kept] | None:
        tenant, _, schedule_id = member.partition("|")
        with redis_errors():
            row = await cast(
                "Awaitable[list[bytes | None]]",
                self._redis.hmget(keys.schedule(schedule_id), list(FIELDS)),
            )
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


def _begun(text: str) -> Begun:
    tenant, schedule, fire_ms, run_id = text.split("|")
    return Begun(f"{tenant}|{schedule}", int(fire_ms), run_id)


def _in_turns(members: Sequence[bytes]) -> list[bytes]:
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
