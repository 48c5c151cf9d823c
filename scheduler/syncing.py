"""
The duty of driving syncs: their cycles, and what Mux said of single assets.

Runs in: scheduler. Trusts: Redis. Refuses: nothing.
May import: stdlib, redis, structlog, core, runs, triggers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from core.clock import Clock, now_ms
from core.errors import ServiceError
from runs.acceptance import Terms
from runs.store import RunStore
from triggers.mux_mixpeek.connector import connector_of
from triggers.mux_mixpeek.cycles import Cycles
from triggers.mux_mixpeek.jobs import Jobs
from triggers.mux_mixpeek.syncs import Syncs

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from core.settings import Settings

_MOST_REST_S = 1.0
_LEAST_REST_S = 0.05


class Syncing:
    """Looks at each sync and each job that is due. Owns nothing."""

    name = "syncing"

    def __init__(self, syncs: Syncs, cycles: Cycles, jobs: Jobs, clock: Clock = now_ms) -> None:
        self._syncs = syncs
        self._cycles = cycles
        self._jobs = jobs
        self._clock = clock

    async def turn(self) -> float:
        """Look once at all that is due, events first, and give the seconds to the next."""
        await _each(await self._jobs.take_due(), self._jobs.look)
        await _each(await self._syncs.take_due(), self._cycles.look)
        due = [await self._jobs.next_due_ms(), await self._syncs.next_due_ms()]
        first = min((one for one in due if one is not None), default=None)
        if first is None:
            return _MOST_REST_S
        return max(_LEAST_REST_S, min(_MOST_REST_S, (first - self._clock()) / 1000))


async def _each(found: Iterable[str], look: Callable[[str], Awaitable[None]]) -> None:
    for one in found:
        # Whatever it is, that one is due again in half a minute; the others are due now.
        try:
            await look(one)
        except ServiceError as error:
            structlog.get_logger(__name__).warning("sync_failed", what=one, problem=error.code)
        except (RedisError, OSError):
            raise  # it is everybody's
        except Exception as error:  # noqa: BLE001 (one record's fault must not stop the others)
            structlog.get_logger(__name__).error("sync_broken", what=one, exc_info=error)


def of_settings(settings: Settings, redis: Redis) -> Syncing:
    """Make the duty; it opens no webhook secret, so it is given no trigger key."""
    connector = connector_of(redis, RunStore(redis, Terms.of_settings(settings)), None)
    return Syncing(connector.syncs, connector.cycles, connector.jobs)
