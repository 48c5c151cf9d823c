"""Quotas of requests to an integration: counted in Redis for all workers, before a byte leaves."""

from __future__ import annotations

import redis.asyncio

from core import keys
from integrations.stubs import Stubs
from runs.redis_throttle import RedisThrottle
from tests.mux_runs import mux_run


async def terms(client: redis.asyncio.Redis, key: str | None = None, /, **values: int) -> None:
    """Give the tenant acme, or one of its keys, terms."""
    where = keys.key_terms("acme", key) if key else keys.terms("acme")
    for name, value in values.items():
        await client.hset(where, name, str(value))


async def test_a_request_beyond_the_quota_is_not_sent(
    stubs: Stubs, redis_async: redis.asyncio.Redis
) -> None:
    """The script gets an error that names the quota and when to ask again; the vendor sees none."""
    await terms(redis_async, **{"calls_per_minute.mux": 2})
    throttle = RedisThrottle(redis_async)
    async with mux_run(stubs, tenant="acme", throttle=throttle) as run:
        for _ in range(2):
            await run.value("mux.list_assets", {})
        before = len(stubs.mux_faults.seen)
        error = await run.error("mux.list_assets", {})
        assert (error["code"], error["retriable"]) == ("quota_exceeded", True)
        assert "calls_per_minute.mux of this tenant is used up: 2 of 2" in error["message"]
        assert "no external call was made" in error["message"]
        assert 1 <= error["retry_after"] <= 61
        assert len(stubs.mux_faults.seen) == before
    async with mux_run(stubs, tenant="other", throttle=throttle) as run:
        await run.value("mux.list_assets", {})


async def test_a_write_beyond_the_quota_is_known_not_to_have_been_made(
    stubs: Stubs, redis_async: redis.asyncio.Redis
) -> None:
    """Nothing was sent, so nothing is in doubt, and the script may go on."""
    await terms(redis_async, **{"calls_per_minute.mux": 0})
    async with mux_run(stubs, tenant="acme", throttle=RedisThrottle(redis_async)) as run:
        error = await run.error("mux.create_asset", {"input": "https://example.com/a.mp4"})
        assert error["code"] == "quota_exceeded"
        assert run.last.effect == "failed"


async def test_a_quota_of_the_key_that_started_the_run_holds_too(
    stubs: Stubs, redis_async: redis.asyncio.Redis
) -> None:
    """The run's record says whose it is; an integration of another name is not touched."""
    await redis_async.hset(keys.run("run_test"), "key_id", "key_a")
    await terms(redis_async, "key_a", **{"calls_per_minute.mux": 1, "calls_per_minute.convex": 0})
    async with mux_run(stubs, tenant="acme", throttle=RedisThrottle(redis_async)) as run:
        await run.value("mux.list_assets", {})
        error = await run.error("mux.list_assets", {})
        assert "of this key is used up: 1 of 1" in error["message"]
