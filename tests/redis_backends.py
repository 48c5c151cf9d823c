"""Both Redises of the contract tests: the real server, and fakeredis inside the process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import fakeredis
import pytest
import redis.asyncio

from core.redis_client import connect_async

BACKENDS = ("real", "fakeredis")


@asynccontextmanager
async def opened(
    backend: str, request: pytest.FixtureRequest
) -> AsyncIterator[redis.asyncio.Redis]:
    """Give a client of an empty Redis of this kind."""
    if backend == "real":
        client = connect_async(request.getfixturevalue("redis_url"))
    else:
        client = fakeredis.FakeAsyncRedis()
    async with client:
        yield client
