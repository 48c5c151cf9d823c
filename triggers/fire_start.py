"""
Starting the run of one fire, and telling what came of it.

Runs in: scheduler. Trusts: Redis. Refuses: to start what the schedule's key may not.
May import: stdlib, redis, structlog, core, runs, tenancy, triggers.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, cast

import structlog

from core import keys
from core.errors import QuotaExceeded, Refused, Unavailable
from runs.origin import Origin, OriginKind
from runs.redis_scripts import Arg, load
from runs.store import RunStore, redis_errors
from triggers.schedule_record import Kept, RedisClock
from triggers.schedule_store import asked_by
from triggers.scripts import ScriptMissing
from triggers.starting import KeyUnfit, Starter

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: A fire that could not be started for so long has failed.
GIVE_UP_MS = 600_000
_QUOTA_MS = 10_000
_AWAY_MS = 1_000
_REASON_CHARS = 300

Settled = Literal["started", "failed", "suspended", "later"]


@dataclass(frozen=True, slots=True)
class Begun:
    """
    A fire whose run is to be started. `member` is `tenant|schedule`.

    `anew`: somebody else began it, or we did before, and did not tell what came of it.
    """

    member: str
    fire_ms: int
    run_id: str
    anew: bool = False

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Take a fire that was begun before from the set in which it stands."""
        tenant, schedule, fire_ms, run_id = text.decode().split("|")
        return cls(f"{tenant}|{schedule}", int(fire_ms), run_id, anew=True)

    @property
    def tenant(self) -> str:
        """Give whose schedule it is."""
        return self.member.partition("|")[0]

    @property
    def schedule(self) -> str:
        """Give the id of the schedule."""
        return self.member.partition("|")[2]


class FireStarter:
    """Starts the runs of fires. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, store: RunStore, clock: RedisClock) -> None:
        self._redis = redis
        self._starter = Starter(redis, store)
        self._clock = clock

    async def start(self, one: Begun, kept: Kept | None) -> None:
        """
        Start the run of a fire, and tell what came of it; `kept` is its schedule, None: it is gone.

        Raises:
            Unavailable: Redis does not answer; another goes on with it.
        """
        if kept is None:
            await self._settle(one, "failed")
            return
        how, why, again_ms = await self._try(one, kept)
        if how == "later" and await self._tried_ms(one) > GIVE_UP_MS:
            how = "failed"
        await self._settle(one, how, why, again_ms)

    async def _try(self, one: Begun, kept: Kept) -> tuple[Settled, str, int]:
        """Start a run; give how that went, why it went wrong, and in how long to try again."""
        log = structlog.get_logger(__name__).bind(schedule=one.schedule, tenant=one.tenant)
        try:
            if not (one.anew and await self._was_started(one)):
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

    async def _settle(self, one: Begun, how: Settled, why: str = "", again_ms: int = 0) -> None:
        now_ms = await self._clock()
        args: list[Arg] = [one.member, one.schedule, one.fire_ms, one.run_id, now_ms]
        with redis_errors():
            await load("schedule_settle").run_async(
                self._redis, [*args, how, why[:_REASON_CHARS], now_ms + again_ms]
            )

    async def _tried_ms(self, one: Begun) -> int:
        now_ms = await self._clock()
        with redis_errors():
            found = await cast(
                "Awaitable[bytes | None]",
                self._redis.hget(keys.schedule(one.schedule), "starting_ms"),
            )
        return now_ms - int(found) if found else 0
