"""Moments in the records of API keys, by the clock of Redis."""

from __future__ import annotations

import orjson
from redis.asyncio import Redis

from core import keys

DAY_MS = 86_400_000


async def redis_ms(redis: Redis) -> int:
    """Give the time by Redis' clock, in Unix milliseconds."""
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def let_pass(redis: Redis, digest: str, name: str, by_ms: int) -> None:
    """Move a moment that stands in a record into the past, as if so much time had gone by."""
    record = orjson.loads(await redis.hget(keys.KEYS, digest) or b"")
    record[name] -= by_ms
    await redis.hset(keys.KEYS, digest, orjson.dumps(record))
