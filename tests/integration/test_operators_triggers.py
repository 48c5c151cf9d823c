"""What an operator's key set up for a tenant ends with its power, as all else that it did."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runs.store import RunStore
from tenancy.key_changes import KeyChange
from tenancy.keys import KeyStore
from tenancy.scopes import Role, Scope
from tenancy.tenants import OPERATOR
from triggers.starting import KeyUnfit, Owner, Starter

pytestmark = pytest.mark.anyio


async def test_a_key_that_is_no_operators_any_more_starts_nothing_for_others(
    redis_async: Redis,
) -> None:
    """Taking `tenants:admin` away reaches the schedules and hooks that the key had made."""
    store, starter = KeyStore(redis_async), Starter(redis_async, RunStore(redis_async))
    await store.create("acme", "a")
    scopes = (*Role.SERVICE.scopes, Scope.WRITE)
    _, key = await store.create(OPERATOR, "o", scopes=scopes)
    await starter.check_key(Owner(key.id, OPERATOR), "acme")
    await store.change(OPERATOR, key.id, KeyChange(scopes=(Scope.WRITE,)))
    starter = Starter(redis_async, RunStore(redis_async))  # one remembers a key for a second
    with pytest.raises(KeyUnfit, match="operator"):
        await starter.check_key(Owner(key.id, OPERATOR), "acme")
    await starter.check_key(Owner(key.id, OPERATOR), OPERATOR)


async def test_a_tenants_key_starts_nothing_for_others(redis_async: Redis) -> None:
    """Whatever stands in a trigger: an ordinary key is its own tenant's alone."""
    store, starter = KeyStore(redis_async), Starter(redis_async, RunStore(redis_async))
    _, key = await store.create("acme", "a")
    await starter.check_key(Owner(key.id, "acme"), "acme")
    with pytest.raises(KeyUnfit):
        await starter.check_key(Owner(key.id, "acme"), "globex")
