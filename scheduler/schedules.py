"""The duty of schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triggers.firing import Firing

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from runs.store import RunStore


class Schedules:
    """Fires what is due."""

    name = "schedules"

    def __init__(self, redis: Redis, store: RunStore) -> None:
        self._firing = Firing(redis, store)

    async def turn(self) -> float:
        """Fire what is due; give the seconds until more may be."""
        return await self._firing.turn()
