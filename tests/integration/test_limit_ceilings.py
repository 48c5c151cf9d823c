"""No run is accepted with a limit above the ceiling of its tenant or its key."""

from __future__ import annotations

import re

import pytest
import redis
import redis.asyncio

from core.errors import Invalid
from runs.redis_scripts import load
from sandbox.limits import SPECS
from tests.quota_tenant import Tenant


@pytest.fixture
def tenant(redis_async: redis.asyncio.Redis) -> Tenant:
    """The tenant acme."""
    return Tenant(redis_async)


async def test_a_default_above_its_ceiling_is_lowered_and_what_is_asked_for_refused(
    tenant: Tenant,
) -> None:
    """The record shows what holds; the refusal names the limit, what was asked and the ceiling."""
    await tenant.terms(**{"ceiling.instructions": 50_000})
    await tenant.terms("key_a", **{"ceiling.instructions": 20_000, "ceiling.wall_ms": 900})
    record = await tenant.submit("key_a")
    assert (record.limits["instructions"], record.limits["wall_ms"]) == (20_000, 900)
    assert (await tenant.submit("key_b")).limits["instructions"] == 50_000
    with pytest.raises(Invalid, match="at most 20000 instructions here, not 30000") as refused:
        await tenant.submit("key_a", instructions=30_000)
    assert refused.value.pointer == "/limits/instructions"
    assert (await tenant.submit("key_a", instructions=20_000)).limits["instructions"] == 20_000
    assert await tenant.redis.llen("rq:queue:t.acme.normal") == 3


def test_redis_knows_every_limit_that_can_have_a_ceiling() -> None:
    """A limit that the script does not know would have no ceiling."""
    text = load("enqueue").text
    named = re.findall(r"'(\w+)'", text[text.index("local LIMITS") :].partition("}")[0])
    assert named == list(SPECS)
