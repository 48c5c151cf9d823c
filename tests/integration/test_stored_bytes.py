"""Bytes of runs are counted until they are gone, expired or erased, and no longer."""

from __future__ import annotations

import re
import time

import pytest
import redis
import redis.asyncio

from core import keys
from core.errors import QuotaExceeded
from runs.erasing import PERIOD_S, forget_runs
from runs.model import RunRequest
from runs.redis_scripts import load
from tests.quota_tenant import Tenant, Worker


@pytest.fixture
def tenant(redis_async: redis.asyncio.Redis) -> Tenant:
    """The tenant acme."""
    return Tenant(redis_async)


@pytest.fixture
def worker(redis_async: redis.asyncio.Redis) -> Worker:
    """A worker."""
    return Worker(redis_async)


async def test_bytes_are_counted_until_they_are_gone(tenant: Tenant, worker: Worker) -> None:
    """What a run takes is measured at its end; the quota says what is stored and what it asks."""
    await tenant.store.submit("acme", RunRequest(script="return 1", input="x" * 50_000), key_id="k")
    total = int(await tenant.redis.hget(keys.stored("acme"), "total") or 0)
    assert total > 50_000
    await tenant.terms(stored_bytes=100_000)
    request = RunRequest(script="return 1", input="x" * 50_000)
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.store.submit("acme", request, key_id="k")
    assert (refused.value.quota, refused.value.used) == ("stored_bytes", total)
    (claim,) = await worker.claim()
    await worker.finish(claim)
    after = int(await tenant.redis.hget(keys.stored("acme"), "total") or 0)
    found = await tenant.redis.hget(keys.run(claim[1]), "stored")
    assert found is not None
    measured = int(str(found, "ascii").split("|")[0]) if isinstance(found, bytes) else 0
    assert 50_000 < measured < 80_000
    assert after == measured + len("return 1")


async def test_bytes_of_runs_that_have_expired_are_counted_no_more(tenant: Tenant) -> None:
    """Nobody tells of a key that expires: the period in which it did takes it off."""
    now = int(time.time()) // 21_600
    for field, value in {"total": 500, "at": now - 9, str(now - 3): 300, str(now): 200}.items():
        await tenant.redis.hset(keys.stored("acme"), field, str(value))
    await tenant.terms(stored_bytes=5_000)
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.store.submit(
            "acme", RunRequest(script="return 1", input="x" * 5_000), key_id="k"
        )
    assert refused.value.used == 200
    assert 1 <= refused.value.retry_after_s <= 21_600


async def test_an_erased_run_takes_no_bytes_and_its_answer_goes_with_it(
    tenant: Tenant, worker: Worker, redis_sync: redis.Redis
) -> None:
    """Erased once or twice: what it took is taken off once, and no answer tells of it."""
    assert int(re.findall(r"PERIOD_S = (\d+)", load("enqueue").text)[0]) == PERIOD_S
    record = await tenant.submit()
    answer = keys.idempotency("acme", "0" * 32)
    redis_sync.hset(answer, "body", "{}")
    redis_sync.hset(keys.run(record.id), "answered", answer)
    (claim,) = await worker.claim()
    await worker.finish(claim)
    for _ in range(2):
        forget_runs(redis_sync, {record.id: "acme"})
    kept = redis_sync.hget(keys.stored("acme"), "total")
    assert kept == str(len("return 1")).encode()
    assert not redis_sync.exists(answer)
