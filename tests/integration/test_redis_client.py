"""Connections to Redis that have died in the pool: an error that everybody knows, and a new one."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import redis.asyncio
import uvloop

from core.redis_client import connect_async


def test_a_connection_that_died_in_the_pool_is_replaced(redis_url: str) -> None:
    """Nobody who asks for something notices it: no command was sent yet."""

    async def use() -> list[Any]:
        async with connect_async(redis_url) as client:
            await client.set("a", 1)
            pool: Any = client.connection_pool
            for one in pool._available_connections:
                one._writer.transport.abort()
            return [await client.get("a") for _ in range(2)]

    assert uvloop.run(use()) == [b"1", b"1"]


def test_its_own_words_are_translated(redis_url: str) -> None:
    """What uvloop raises when such a connection is written to reaches nobody."""

    async def write() -> None:
        async with connect_async(redis_url) as client:
            await client.ping()
            pool: Any = client.connection_pool
            connection = await pool.get_connection()
            try:
                connection._writer.transport.abort()
                await connection.send_command("PING", check_health=False)
            finally:
                await pool.release(connection)

    with pytest.raises(redis.ConnectionError):
        uvloop.run(write())
