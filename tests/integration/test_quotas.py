"""Quotas of tenants and keys: every run that is accepted is counted, in one step with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis
import redis.asyncio

from core import keys
from core.errors import Forbidden, QuotaExceeded
from core.redis_client import connect_async
from core.redis_server import PrivateRedis
from runs.model import RunRequest
from runs.quotas import quotas_of
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.quota_tenant import Tenant, Worker, used


@pytest.fixture
def tenant(redis_async: redis.asyncio.Redis) -> Tenant:
    """The tenant acme."""
    return Tenant(redis_async)


async def test_without_terms_no_rate_is_counted(tenant: Tenant) -> None:
    """Who has no quota pays for none: nothing is written beside the run."""
    await tenant.submit()
    assert not await tenant.redis.exists(keys.quota("acme"), keys.quota("acme", "key_a"))


async def test_a_rate_lets_exactly_its_quota_pass(tenant: Tenant) -> None:
    """The error names the quota, what is used and allowed, and when to ask again."""
    await tenant.terms(runs_per_minute=3)
    for _ in range(3):
        await tenant.submit()
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit()
    error = refused.value
    assert (error.quota, error.whose, error.used, error.allowed) == (
        "runs_per_minute",
        "tenant",
        3,
        3,
    )
    assert 1 <= error.retry_after_s <= 61
    assert await tenant.redis.llen("rq:queue:t.acme.normal") == 3


@pytest.fixture
def worker(redis_async: redis.asyncio.Redis) -> Worker:
    """A worker."""
    return Worker(redis_async)


async def test_a_key_has_its_own_quota_within_its_tenants(tenant: Tenant) -> None:
    """Both must have room; what one refuses is counted in neither."""
    await tenant.terms(runs_per_minute=3)
    await tenant.terms("key_a", runs_per_minute=1)
    await tenant.submit("key_a")
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit("key_a")
    assert (refused.value.whose, refused.value.allowed) == ("key", 1)
    assert await used(tenant, "runs_per_minute") == 1
    await tenant.submit("key_b")
    await tenant.submit("key_b")
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit("key_b")
    assert refused.value.whose == "tenant"


async def test_instructions_are_reserved_and_what_was_not_used_is_given_back(
    tenant: Tenant, worker: Worker
) -> None:
    """Runs in hand count by their limits, ended ones by what they used, as their records say."""
    await tenant.terms(instructions_per_minute=10_000, instructions_per_day=10_000)
    await tenant.terms("key_a", instructions_per_minute=10_000)
    await tenant.submit(instructions=6_000)
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit(instructions=6_000)
    assert (refused.value.used, refused.value.allowed) == (6_000, 10_000)
    assert "limits.instructions" in (refused.value.hint or "")
    (claim,) = await worker.claim()
    await worker.finish(claim, instructions=1_500)
    for quota, key in (
        ("instructions_per_minute", None),
        ("instructions_per_day", None),
        ("instructions_per_minute", "key_a"),
    ):
        assert await used(tenant, quota, key) == 1_500
    await tenant.submit(instructions=6_000)


async def test_what_runs_under_way_have_reserved_is_worth_asking_for_soon(
    tenant: Tenant, worker: Worker
) -> None:
    """It may be free with their next end; what is used is gone until it leaves the window."""
    await tenant.terms(instructions_per_day=10_000)
    await tenant.submit(instructions=9_000)
    for used_instructions in (2_000, 0):  # 0: the child was killed, and all of it counts
        with pytest.raises(QuotaExceeded) as refused:
            await tenant.submit(instructions=8_000)
        assert refused.value.retry_after_s == 5
        (claim,) = await worker.claim()
        await worker.finish(claim, instructions=used_instructions)
        with pytest.raises(QuotaExceeded) as refused:
            await tenant.submit(instructions=9_000)
        assert refused.value.retry_after_s > 3_600
        if used_instructions:
            await tenant.submit(instructions=8_000)


async def test_a_run_gives_back_only_what_was_counted_for_it(
    tenant: Tenant, worker: Worker
) -> None:
    """A quota that was set after a run's acceptance loses nothing of what others reserved in it."""
    await tenant.terms(instructions_per_minute=20_000)
    await tenant.submit(instructions=6_000)
    await tenant.terms(instructions_per_day=10_000)
    await tenant.terms("key_a", instructions_per_minute=10_000)
    later = await tenant.submit(instructions=5_000)
    (claim,) = await worker.claim()
    await worker.finish(claim, instructions=1_500)
    assert await used(tenant, "instructions_per_minute") == 6_500
    assert await used(tenant, "instructions_per_day") == 5_000
    assert await used(tenant, "instructions_per_minute", "key_a") == 5_000
    await tenant.store.cancel("acme", later.id)
    assert await used(tenant, "instructions_per_minute") == 1_500
    assert await used(tenant, "instructions_per_day") == 0
    assert await used(tenant, "instructions_per_minute", "key_a") == 0


@pytest.mark.parametrize(
    ("reason", "counted"),
    [
        (Reason.CPU_LIMIT, 6_000),
        (Reason.WALL_LIMIT, 6_000),
        (Reason.CANCELLED, 6_000),
        (Reason.CRASHED, 6_000),
        (Reason.SANDBOX_UNAVAILABLE, 0),
    ],
)
async def test_a_run_whose_child_was_killed_used_all_that_it_might_have(
    tenant: Tenant, worker: Worker, reason: Reason, counted: int
) -> None:
    """Its count went with the child: else loops that run into another limit would be free."""
    await tenant.terms(instructions_per_minute=10_000)
    await tenant.submit(instructions=6_000)
    (claim,) = await worker.claim()
    await worker.finish(claim, reason=reason)
    assert await used(tenant, "instructions_per_minute") == counted


async def test_a_run_that_was_cancelled_in_its_queue_used_nothing(tenant: Tenant) -> None:
    """All that was reserved for it is free again."""
    await tenant.terms(instructions_per_minute=10_000)
    record = await tenant.submit(instructions=6_000)
    await tenant.store.cancel("acme", record.id)
    assert await used(tenant, "instructions_per_minute") == 0


async def test_concurrent_submissions_cannot_overrun_a_quota(
    tenant: Tenant, redis_url: str
) -> None:
    """However many come at once over however many connections, exactly the quota passes."""
    await tenant.terms(instructions_per_day=50_000, runs_per_minute=1_000)
    clients = [connect_async(redis_url) for _ in range(2)]
    stores = [RunStore(one) for one in clients]
    request = RunRequest(script="return 1", limits={"instructions": 1_000})
    asked = [stores[n % 2].submit("acme", request, key_id="key_a") for n in range(120)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for one in clients:
        await one.aclose()
    assert sum(isinstance(one, QuotaExceeded) for one in answers) == 70
    assert await used(tenant, "instructions_per_day") == 50_000
    assert await used(tenant, "runs_per_minute") == 50


async def test_a_quota_below_its_use_lets_nothing_pass_and_tells_both(tenant: Tenant) -> None:
    """Lowering a quota takes nothing back; nothing more passes until enough has left the window."""
    await tenant.terms(runs_per_minute=5)
    for _ in range(5):
        await tenant.submit()
    await tenant.terms(runs_per_minute=2)
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit()
    assert (refused.value.used, refused.value.allowed) == (5, 2)


async def test_a_quota_of_nothing_lets_nothing_pass(tenant: Tenant) -> None:
    """0 cannot be set by our own means; if it stands there, it is no lack of a quota."""
    await tenant.terms(runs_per_day=0)
    with pytest.raises(QuotaExceeded):
        await tenant.submit()


async def test_a_run_larger_than_the_whole_quota_is_told_so(tenant: Tenant) -> None:
    """Waiting would not help: the answer says what would."""
    await tenant.terms(instructions_per_minute=1_000)
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit(instructions=5_000)
    assert refused.value.used == 0
    assert "ask for less in limits.instructions" in (refused.value.hint or "")


async def test_a_suspended_tenant_starts_nothing(tenant: Tenant) -> None:
    """Suspension is no quota: there is nothing to wait for."""
    await tenant.terms(suspended_ms=1)
    with pytest.raises(Forbidden, match="suspended"):
        await tenant.submit()


async def test_quotas_survive_a_restart_of_redis(tmp_path: Path) -> None:
    """What was counted and reserved stands in Redis' file: a restart gives nobody a new quota."""
    with PrivateRedis(tmp_path) as server:
        async with connect_async(server.url) as client:
            tenant = Tenant(client)
            await tenant.terms(runs_per_day=2, instructions_per_day=10_000)
            await tenant.submit(instructions=1_000)
            await tenant.submit(instructions=2_000)
    with PrivateRedis(tmp_path) as server:
        async with connect_async(server.url) as client:
            tenant = Tenant(client)
            assert await used(tenant, "instructions_per_day") == 3_000
            with pytest.raises(QuotaExceeded):
                await tenant.submit(instructions=1_000)


async def test_what_is_used_of_every_quota_is_shown_and_showing_counts_nothing(
    tenant: Tenant,
) -> None:
    """The tenant's own and those of the key that asks; another key's are not shown."""
    await tenant.terms(runs_per_minute=9, concurrent_runs=3)
    await tenant.terms("key_b", runs_per_day=1)
    await tenant.submit("key_b")
    await tenant.redis.hset(keys.terms("acme"), "calls_per_minute.mux", "7")
    for _ in range(2):
        shown = await quotas_of(tenant.redis, "acme", "key_a", queue_max=40)
    assert {(one.whose, one.quota): (one.allowed, one.used, one.span_s) for one in shown} == {
        ("tenant", "queued_runs"): (40, 1, 0),
        ("tenant", "concurrent_runs"): (3, 0, 0),
        ("tenant", "stored_bytes"): (-1, await stored(tenant), 0),
        ("tenant", "runs_per_minute"): (9, 1, 60),
        ("tenant", "calls_per_minute.mux"): (7, 0, 60),
    }
    of_key = await quotas_of(tenant.redis, "acme", "key_b", queue_max=40)
    assert [(one.quota, one.used) for one in of_key if one.whose == "key"] == [("runs_per_day", 1)]


async def stored(tenant: Tenant) -> int:
    """Give the bytes that are counted."""
    return int(await tenant.redis.hget(keys.stored("acme"), "total") or 0)
