"""Ending what is on its way of a batch, and finding what will never end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from core import keys
from runs.batches.ids import RunIds
from runs.cancelling_many import ACTIVE, cancel_runs
from runs.model import State
from runs.redis_scripts import Arg, load

if TYPE_CHECKING:
    from redis.asyncio import Redis

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class OnTheirWay:
    """Those of the first `fed` items of a batch that have not ended."""

    batch_id: str
    tenant: str
    ids: RunIds
    fed: int

    async def cancel(self, redis: Redis, *, only_queued: bool) -> None:
        """
        Cancel their runs.

        Raises:
            RedisError: Redis did not confirm; some may have been cancelled.
        """
        states = frozenset({State.QUEUED}) if only_queued else ACTIVE
        async for indexes in self._unended(redis):
            await cancel_runs(redis, self.tenant, [self.ids.of(one) for one in indexes], states)

    async def find_lost(self, redis: Redis, now_ms: int) -> int:
        """
        Count those as expired whose runs are gone although they never ended; give how many.

        Raises:
            RedisError: Redis does not answer.
        """
        count = 0
        async for indexes in self._unended(redis):
            args: list[Arg] = [self.batch_id, now_ms]
            for index in indexes:
                args += [index, self.ids.of(index)]
            count += await load("batch_lost").run_async(redis, args)
        return count

    async def _unended(self, redis: Redis) -> AsyncIterator[list[int]]:
        found = await cast("Awaitable[bytes | None]", redis.get(keys.batch_ends(self.batch_id)))
        ends = found or b""
        left = [one for one in range(self.fed) if one >= len(ends) or not ends[one]]
        for at in range(0, len(left), _AT_ONCE):
            yield left[at : at + _AT_ONCE]
