"""The duty of showing signs of life, for health checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from core import keys
from core.clock import Clock, now_ms

if TYPE_CHECKING:
    from redis.asyncio import Redis

_EVERY_S = 5.0
#: A scheduler that said nothing for so long is gone.
SILENCE_MS = 30_000


class Beat:
    """Writes when this scheduler was last alive, and forgets those that are gone."""

    name = "beat"

    def __init__(self, redis: Redis, scheduler: str, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._scheduler = scheduler
        self._clock = clock

    async def turn(self) -> float:
        """Write once."""
        now = self._clock()
        pipe = cast("Any", self._redis.pipeline(transaction=True))
        pipe.zadd(keys.SCHEDULERS, {self._scheduler: now})
        pipe.zremrangebyscore(keys.SCHEDULERS, 0, now - SILENCE_MS)
        await pipe.execute()
        return _EVERY_S

    async def sign_off(self) -> None:
        """Say that this scheduler ends."""
        await cast("Any", self._redis.zrem(keys.SCHEDULERS, self._scheduler))
