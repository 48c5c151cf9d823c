"""Rates and concurrency of vendors' accounts, counted in Redis for all workers together."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from integrations.throttle import PLACE_POLL_S, Gate, QuotaUsedUp, ThrottleUnavailable
from runs.redis_scripts import Arg, load

if TYPE_CHECKING:
    import redis.asyncio

_ALL_TAKEN = -1
#: A Redis that restarts is waited for. Much less than a lease: until then nobody else has the run.
_RIDE_OUT_S = 3.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class RedisThrottle:
    """Counts by the clock of Redis; the place of a worker that died is free after its lease."""

    redis: redis.asyncio.Redis

    async def enter(self, gate: Gate) -> float:
        """
        Give 0 and count the request, or the seconds to wait and ask again.

        A Redis that is away is asked again for 3 seconds. What it counted before it went, and could
        not tell, is counted twice then: never once too little.

        Raises:
            ThrottleUnavailable: Redis does not answer, or cannot count; the request must not go.
            QuotaUsedUp: a quota of the tenant or of the run's key is used up.
        """
        answer = await self._answer(gate)
        if isinstance(answer, list):
            whose, quota, allowed, used, _, wait_s = answer
            raise QuotaUsedUp(whose.decode(), quota.decode(), int(allowed), int(used), int(wait_s))
        return PLACE_POLL_S if answer == _ALL_TAKEN else int(answer) / 1e6

    async def leave(self, gate: Gate) -> None:
        """Give the place back; if that fails, its lease ends it."""
        if gate.concurrency is None:
            return
        try:
            await asyncio.shield(self._ask(gate, 0))
        except (RedisError, OSError, TimeoutError) as error:
            structlog.get_logger(__name__).warning("throttle_not_left", error=str(error))

    async def _answer(self, gate: Gate) -> Any:
        end_s = time.monotonic() + _RIDE_OUT_S
        while True:
            try:
                return await self._ask(gate, max(1, math.ceil(gate.lease_s * 1000)))
            except (RedisError, OSError, TimeoutError) as error:
                if time.monotonic() >= end_s:
                    log = structlog.get_logger(__name__)
                    log.warning("throttle_unavailable", error=str(error))
                    raise ThrottleUnavailable from None
            await asyncio.sleep(_POLL_S)

    async def _ask(self, gate: Gate, lease_ms: int) -> Any:
        each_us = 0 if gate.rate is None else math.ceil(1e6 / gate.rate.per_s)
        burst = 1 if gate.rate is None else gate.rate.burst
        places = gate.concurrency or 0
        bucket = gate.bucket or ""
        args: list[Arg] = [gate.account, bucket, each_us, burst, places, gate.lease, lease_ms]
        args += [gate.tenant, gate.run_id, gate.integration]
        return await load("throttle").run_async(self.redis, args)
