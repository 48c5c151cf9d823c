"""Quotas of tenants and keys: every run that is accepted is counted, in one step with it."""

from __future__ import annotations

from typing import Any

import pytest
import redis.asyncio

from core import keys
from core.errors import QuotaExceeded
from runs.acceptance import Terms
from runs.model import RunRequest
from runs.store import RunStore

NO_OP = RunRequest(script="return 1")


class Tenant:
    """A tenant with terms and one key, over a real Redis."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.redis = client
        self.store = RunStore(client, Terms(queue_max=1_000))

    async def terms(self, key: str | None = None, /, **terms: int) -> None:
        """Give the tenant, or a key, terms."""
        where = keys.key_terms("acme", key) if key else keys.terms("acme")
        for name, value in terms.items():
            await self.redis.hset(where, name, str(value))

    async def submit(self, key: str = "key_a", **limits: int) -> Any:
        """Submit a no-op with these limits."""
        request = RunRequest(script="return 1", limits=limits)
        return await self.store.submit("acme", request, key_id=key)


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
