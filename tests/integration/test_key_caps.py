"""Caps of a key on runs queued and at once hold over all workers and hold up nobody else."""

from __future__ import annotations

import pytest
import redis
import redis.asyncio

from core import keys
from core.errors import QuotaExceeded
from runs.quotas import quotas_of
from tests.quota_tenant import Tenant, Worker
from worker.plan import WorkerPlan
from worker.sweep import Sweep


@pytest.fixture
def tenant(redis_async: redis.asyncio.Redis) -> Tenant:
    """The tenant acme."""
    return Tenant(redis_async)


@pytest.fixture
def worker(redis_async: redis.asyncio.Redis) -> Worker:
    """A worker."""
    return Worker(redis_async)


async def test_a_full_queue_of_a_key_leaves_the_tenants_others_alone(
    tenant: Tenant, worker: Worker
) -> None:
    """A key's place is free when its run begins, ends or is cancelled."""
    await tenant.terms("key_a", queued_runs=1)
    first = await tenant.submit("key_a")
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit("key_a")
    assert (refused.value.quota, refused.value.whose) == ("queued_runs", "key")
    await tenant.submit("key_b")
    await tenant.store.cancel("acme", first.id)
    await tenant.submit("key_a")
    await worker.claim(2)
    await tenant.submit("key_a")


async def test_runs_at_once_of_a_key_hold_over_all_workers_and_block_nobody_else(
    tenant: Tenant, worker: Worker
) -> None:
    """Runs of a key at its cap let those of others pass, keep their order, and count as queued."""
    await tenant.terms("key_a", concurrent_runs=1)
    await tenant.terms(queued_runs=4)
    mine = [(await tenant.submit("key_a")).id for _ in range(3)]
    other = (await tenant.submit("key_b")).id
    claimed = await worker.claim(4)
    assert [run for _, run, _ in claimed] == [mine[0], other]
    await tenant.submit("key_b")
    await tenant.submit("key_b")
    with pytest.raises(QuotaExceeded, match="4 runs are queued or wait"):
        await tenant.submit("key_b")
    await tenant.store.cancel("acme", mine[1])
    await worker.finish(claimed[0])
    again = await worker.claim(4)
    assert mine[2] in [run for _, run, _ in again]
    assert mine[1] not in [run for _, run, _ in again]
    for claim in again:
        await worker.finish(claim)
    await worker.finish(claimed[1])
    left = await tenant.redis.keys("ms:held:*") + await tenant.redis.keys("ms:running:*")
    assert left + await tenant.redis.keys("ms:queued:*") == []


async def a_millisecond_each(tenant: Tenant, count: int) -> list[str]:
    """Submit runs of one key, as if each had come in a millisecond of its own; give their ids."""
    ids = [(await tenant.submit("key_a")).id for _ in range(count)]
    for number, one in enumerate(ids):
        await tenant.redis.hset(keys.run(one), "created_ms", str(number + 1))
    return ids


async def test_a_key_is_held_to_runs_at_once_that_were_set_after_it_queued(
    tenant: Tenant, worker: Worker
) -> None:
    """Who went mad before somebody looked is calmed as well."""
    mine = await a_millisecond_each(tenant, 3)
    other = (await tenant.submit("key_b")).id
    await tenant.terms("key_a", concurrent_runs=1)
    claimed = await worker.claim(4)
    assert [run for _, run, _ in claimed] == [mine[0], other]
    used_now = await quotas_of(tenant.redis, "acme", "key_a", queue_max=10)
    assert {(one.quota, one.used) for one in used_now if one.whose == "key"} == {
        ("concurrent_runs", 1)
    }
    for expected in mine[1:]:
        await worker.finish(claimed[0])
        claimed = await worker.claim(4)
        assert [run for _, run, _ in claimed] == [expected]
    await worker.finish(claimed[0])
    assert await tenant.redis.keys("ms:*:acme:key_a") == [b"ms:terms:acme:key_a"]


async def test_runs_of_a_key_go_on_when_its_bound_is_raised_or_taken_off(
    tenant: Tenant, worker: Worker
) -> None:
    """With the next sweep, and not only when the one that is in hand has ended."""
    await tenant.terms("key_a", concurrent_runs=1)
    mine = await a_millisecond_each(tenant, 4)
    sweep = Sweep(tenant.redis, WorkerPlan("w", 1, lease_s=30))
    begun = await worker.claim(4)
    await sweep.once()
    assert await worker.claim(4) == []
    await tenant.terms("key_a", concurrent_runs=2)
    await sweep.once()
    begun += await worker.claim(4)
    assert [run for _, run, _ in begun] == mine[:2]
    await tenant.redis.delete(keys.key_terms("acme", "key_a"))
    await sweep.once()
    begun += await worker.claim(4)
    assert [run for _, run, _ in begun] == mine
    await sweep.once()
    assert not await tenant.redis.exists(keys.HOLDING)
