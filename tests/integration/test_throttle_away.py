"""A Redis that restarts while a request is about to go: it is waited for, and no count is lost."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from integrations.pack_wire import Rate
from integrations.throttle import Gate
from runs.redis_scripts import load
from runs.redis_throttle import RedisThrottle

pytestmark = pytest.mark.anyio
GATE = Gate("acme/till/default", None, Rate(per_s=1, burst=2), 1, "a", 30, "acme", "run_1", "till")


class Away:
    """A connection that breaks some times: before it asks, or when it is to be answered."""

    def __init__(self, client: Redis, times: int, *, asked: bool) -> None:
        self._client, self.times, self._asked = client, times, asked

    async def evalsha(self, *args: Any) -> Any:
        """Ask, unless it breaks."""
        if self.times and self._asked:
            await self._ask(*args)
        if self.times:
            self.times -= 1
            raise RedisConnectionError("Connection closed by server")
        return await self._ask(*args)

    async def _ask(self, sha: str, *args: Any) -> Any:
        script: Any = await cast("Any", self._client.script_exists(sha))
        if not script[0]:
            await self._client.script_load(load("throttle").text)
        return await cast("Any", self._client.evalsha(sha, *args))


async def test_a_redis_that_is_away_for_a_moment_is_waited_for(redis_async: Redis) -> None:
    """The request goes as soon as it is counted; the script hears nothing of it."""
    away = Away(redis_async, 3, asked=False)
    assert await RedisThrottle(cast("Any", away)).enter(GATE) == 0
    assert away.times == 0


async def test_what_was_counted_without_an_answer_is_never_counted_too_little(
    redis_async: Redis,
) -> None:
    """Asked again it has its own place, and its rate was used twice: the next one has to wait."""
    away = Away(redis_async, 1, asked=True)
    assert await RedisThrottle(cast("Any", away)).enter(GATE) == 0
    assert await RedisThrottle(redis_async).enter(GATE) > 0
