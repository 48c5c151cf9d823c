"""Only an operator's key acts for other tenants, and only with what it has itself."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Forbidden, Invalid, NotFound
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet
from tenancy.key_changes import KeyChange
from tenancy.key_record import KeyRecord
from tenancy.keys import KeyStore
from tenancy.scopes import Role, Scope
from tenancy.tenants import OPERATOR
from tenancy.terms import TermsStore

pytestmark = pytest.mark.anyio


async def test_an_operators_key_has_no_grants_that_would_be_passed_over(redis_async: Redis) -> None:
    """It acts under other tenants, where grants and limits of its own are not looked for."""
    with pytest.raises(Invalid, match="operator"):
        await GrantStore(redis_async).set(OPERATOR, None, GrantSet.parse(["mux:read"]), by="cli")
    with pytest.raises(Invalid, match="operator"):
        await TermsStore(redis_async).set(OPERATOR, None, {"weight": 1}, by="cli")
    assert await redis_async.dbsize() == 0


async def test_only_the_operators_keys_administer_tenants(redis_async: Redis) -> None:
    """The scope is refused for a key of an ordinary tenant, and forged into one opens nothing."""
    store = KeyStore(redis_async)
    with pytest.raises(Invalid, match="operator"):
        await store.create("acme", "a", scopes=[Scope.TENANTS_ADMIN])
    plain, record = await store.create("acme", "a")
    with pytest.raises(Invalid, match="operator"):
        await store.change("acme", record.id, KeyChange(scopes=(Scope.TENANTS_ADMIN,)))
    forged = record.model_copy(update={"scopes": (Scope.TENANTS_ADMIN,)})
    await redis_async.hset(keys.KEYS, record.digest, forged.model_dump_json())
    await store.create("globex", "a")
    with pytest.raises(Forbidden):
        await store.authenticate(plain, "globex")


async def test_an_operators_key_acts_for_tenants_with_what_it_has(redis_async: Redis) -> None:
    """It becomes a key of the tenant that it names, with its own scopes and no more."""
    store = KeyStore(redis_async)
    await store.create("acme", "a")
    plain, record = await store.create(OPERATOR, "o", scopes=Role.SERVICE.scopes)
    assert (await store.authenticate(plain)).tenant == OPERATOR
    acting = await store.authenticate(plain, "acme")
    assert (acting.tenant, acting.owner, acting.scopes) == ("acme", OPERATOR, record.scopes)
    with pytest.raises(NotFound):
        await store.authenticate(plain, "nobody")
    with pytest.raises(Invalid):
        await store.authenticate(plain, "ms:keys")
    with pytest.raises(Forbidden, match="runs:read"):
        await store.create("acme", "x", scopes=[Scope.READ], giver=acting)
    _, made = await store.create("acme", "x", scopes=[Scope.USAGE_READ], giver=acting)
    assert (made.tenant, made.by) == ("acme", record.id)


async def test_a_tenants_key_acts_for_nobody_else(redis_async: Redis) -> None:
    """Whether there is such a tenant is not told either."""
    store = KeyStore(redis_async)
    plain, record = await store.create("acme", "a", scopes=Role.ADMIN.scopes)
    await store.create("globex", "a")
    said = []
    for other in ("globex", "nobody"):
        with pytest.raises(Forbidden) as refused:
            await store.authenticate(plain, other)
        said.append(refused.value.detail)
    assert said[0] == said[1]
    assert await store.authenticate(plain, "acme") == record


def test_a_record_never_shows_where_it_acts_in_what_is_kept() -> None:
    """An operator's key that acts for a tenant is kept as the operator's, if it were written."""
    record = KeyRecord(id="key_1", tenant=OPERATOR, name="x", last4="", created_ms=0, digest="")
    assert "home" not in record.acting_for("acme").model_dump()
    assert record.acting_for("acme").acting_for("globex").owner == OPERATOR
