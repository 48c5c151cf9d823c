"""Connections to Redis that have died in the pool: an error that everybody knows, and a new one."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import redis.asyncio
import uvloop

from core.redis_client import connect_async


def test_a_connection_that_was_closed_meanwhile_is_a_lost_one(redis_url: str) -> None:
    """Uvloop says RuntimeError of it, which would end a run as an error of ours."""

    async def use() -> list[Any]:
        seen: list[Any] = []
        async with connect_async(redis_url) as client:
            await client.set("a", 1)
            pool: Any = client.connection_pool
            for one in pool._available_connections:
                one._writer.transport.abort()
            for _ in range(2):
                try:
                    seen.append(await client.get("a"))
                except redis.ConnectionError as lost:
                    seen.append(type(lost))
        return seen

    found = uvloop.run(use())
    assert found[-1] == b"1"
    assert all(one in {b"1", redis.ConnectionError} for one in found)


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
