"""The duty that ends queued runs at their deadlines, also when no worker is alive to do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.expiring import end_expired

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PAUSE_S = 1.0


class Expiring:
    """Looks each second. Owns nothing; the connection is its maker's."""

    name = "expiring"

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def turn(self) -> float:
        """End what is due; one step of Redis each, so that several schedulers do no harm."""
        await end_expired(self._redis)
        return _PAUSE_S
