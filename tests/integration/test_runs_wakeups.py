"""Waiting for the end of a run: one reader for all who wait, and no end is missed."""

from __future__ import annotations

import asyncio

import redis
import redis.asyncio

from core import keys
from core.redis_client import connect_async
from runs.wakeups import Wakeups
from tests.deadline import Deadline
from tests.flaky_redis import Fault, FlakyRedis


def end(client: redis.Redis, run_id: str) -> None:
    """Say that a run has ended, as the scripts do."""
    client.xadd(keys.DONE, {"run": run_id, "state": "succeeded"})


async def test_everybody_who_waits_is_woken_and_nobody_else(
    redis_async: redis.asyncio.Redis, redis_sync: redis.Redis
) -> None:
    """Two waiters of one run wake; one of another waits to its own end."""
    async with Wakeups(redis_async) as wakeups:
        waiters = [asyncio.create_task(wakeups.wait("run_a", 10)) for _ in range(2)]
        other = asyncio.create_task(wakeups.wait("run_b", 0.3))

        end(redis_sync, "run_a")

        assert await asyncio.gather(*waiters) == [True, True]
        assert not await other


async def test_an_end_before_the_wait_is_remembered(
    redis_async: redis.asyncio.Redis, redis_sync: redis.Redis
) -> None:
    """A run may end between its submission and the wait."""
    async with Wakeups(redis_async) as wakeups:
        end(redis_sync, "run_a")
        end(redis_sync, "run_b")
        assert await wakeups.wait("run_b", 10)

        assert await wakeups.wait("run_a", 0)


async def test_ends_that_nobody_waits_for_are_read_together(
    redis_async: redis.asyncio.Redis, redis_sync: redis.Redis
) -> None:
    """A reader that nobody waits for asks Redis once for many ends; who comes then is told."""
    async with Wakeups(redis_async) as wakeups:
        end(redis_sync, "run_0")
        assert await wakeups.wait("run_0", 10)
        before = _reads(redis_sync)
        for number in range(1, 101):
            await asyncio.to_thread(end, redis_sync, f"run_{number}")

        assert await wakeups.wait("run_100", 10)
        assert await wakeups.wait("run_1", 0)
        assert _reads(redis_sync) - before < 50


def _reads(client: redis.Redis) -> int:
    told = client.info("commandstats")
    assert isinstance(told, dict)
    return int(told["cmdstat_xread"]["calls"])


async def test_what_ended_before_the_start_is_not_told(
    redis_async: redis.asyncio.Redis, redis_sync: redis.Redis
) -> None:
    """A process that starts does not read what was there before it."""
    end(redis_sync, "run_a")

    async with Wakeups(redis_async) as wakeups:
        assert not await wakeups.wait("run_a", 0.1)


async def test_ends_during_a_lost_connection_are_read_afterwards(
    redis_url: str, redis_sync: redis.Redis
) -> None:
    """The stream is read on from where it was left."""
    with FlakyRedis(redis_url.removeprefix("unix://")) as wire:
        async with connect_async(wire.url) as client, Wakeups(client) as wakeups:
            end(redis_sync, "run_a")
            assert await wakeups.wait("run_a", 10)

            wire.arm(Fault.CUT_BEFORE, "XREAD")
            end(redis_sync, "run_b")
            await asyncio.to_thread(Deadline().until, wire.struck.is_set, "the cut")
            end(redis_sync, "run_c")

            assert await wakeups.wait("run_c", 10)
            assert await wakeups.wait("run_b", 10)
