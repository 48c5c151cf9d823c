"""Tenants in a real Redis: made, listed, suspended, resumed, deleted; the ledger is told."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet
from tenancy.keys import KeyStore
from tenancy.master_keys import MasterKeys, new_line
from tenancy.tenant_store import TenantStore
from tenancy.tenants import OPERATOR
from tenancy.terms import TermsStore
from tenancy.vault import Vault

pytestmark = pytest.mark.anyio


async def kinds(redis: Redis) -> list[tuple[str, str]]:
    """Give kind and subject of what stands in the inbox."""
    rows: Any = await redis.xrange(keys.LEDGER_INBOX)
    told = [orjson.loads(fields[b"leaf"]) for _, fields in rows]
    return [(one["kind"], one["id"]) for one in told]


async def test_a_tenant_is_made_once(redis_async: Redis) -> None:
    """A name that is taken is refused, also to one of ten that ask at once."""
    store = TenantStore(redis_async, clock=lambda: 5)
    asked = [store.create("acme", by="cli") for _ in range(10)]
    made = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(not isinstance(one, Conflict) for one in made) == 1
    found = await store.get("acme")
    assert (found.name, found.created_ms, found.state) == ("acme", 5, "active")
    assert await kinds(redis_async) == [("tenant.created", "acme")]


@pytest.mark.parametrize("name", ["", "Acme", "a:b", "a\n", "a" * 41, "../x", "=1+1", "acme'--"])
async def test_a_name_that_could_break_anything_is_no_tenant(redis_async: Redis, name: str) -> None:
    """Nothing but letters, digits and hyphens reaches a key, a table or a formula."""
    store = TenantStore(redis_async)
    for ask in (
        store.create(name, by="cli"),
        store.get(name),
        store.suspend(name, by="cli"),
        store.resume(name, by="cli"),
        store.delete(name, by="cli"),
        store.page(name, 5),
    ):
        with pytest.raises(Invalid):
            await ask
    assert await redis_async.dbsize() == 0


async def test_pages_have_every_tenant_once_in_order(redis_async: Redis) -> None:
    """Whatever the size of a page, all tenants come, those that are made meanwhile no obstacle."""
    store = TenantStore(redis_async)
    names = sorted(f"t{number}" for number in range(25))
    for name in names:
        await store.create(name, by="cli")
    for limit in (1, 7, 24, 25, 200, 10**9, 0, -5):
        seen: list[str] = []
        after: str | None = None
        while True:
            page, after = await store.page(after, limit)
            assert 1 <= len(page) <= max(1, limit)
            seen += [one.name for one in page]
            if after is None:
                break
        assert seen == names


async def test_a_suspended_tenant_opens_nothing_and_loses_nothing(redis_async: Redis) -> None:
    """Its keys are refused with why, its terms stay, and after the end all is as before."""
    store, made, terms = TenantStore(redis_async), KeyStore(redis_async), TermsStore(redis_async)
    plain, record = await made.create("acme", "a")
    other, _ = await made.create("globex", "a")
    await terms.set("acme", None, {"weight": 5}, by="cli")
    since = (await store.suspend("acme", by="cli")).suspended_ms
    assert (await store.suspend("acme", by="cli")).suspended_ms == since
    assert (await store.get("acme")).state == "suspended"
    with pytest.raises(Forbidden, match="suspended"):
        await made.authenticate(plain)
    await made.authenticate(other)
    assert await terms.get("acme") == {"weight": 5}
    await store.resume("acme", by="cli")
    await store.resume("acme", by="cli")
    assert await made.authenticate(plain) == record
    told = [kind for kind, _ in await kinds(redis_async) if kind.startswith("tenant.")]
    assert told == ["tenant.created", "tenant.created", "tenant.suspended", "tenant.resumed"]


async def test_deleting_takes_all_that_opens_or_allows(redis_async: Redis) -> None:
    """Keys, grants, terms and accounts are gone in one step, and each is told to the ledger."""
    store, made, terms = TenantStore(redis_async), KeyStore(redis_async), TermsStore(redis_async)
    plain, record = await made.create("acme", "a")
    await made.rotate("acme", record.id, grace_s=60)
    await GrantStore(redis_async).set("acme", record.id, GrantSet.parse(["mux"]), by="cli")
    await terms.set("acme", record.id, {"queued_runs": 5}, by="cli")
    vault = Vault(redis_async, MasterKeys.parse(new_line("one")))
    await vault.set("acme", "mux", "default", {"token_id": "i", "token_secret": "s"})
    with pytest.raises(Conflict, match="active"):
        await store.delete("acme", by="cli")
    await store.suspend("acme", by="cli")
    await store.delete("acme", by="cli")

    found: Any = await redis_async.keys("ms:*acme*")
    left = sorted(key.decode() for key in found)
    assert left == ["ms:terms:acme"]
    assert await redis_async.hkeys("ms:terms:acme") == [b"suspended_ms"]
    assert await redis_async.hlen(keys.KEYS) == 0
    with pytest.raises(Unauthenticated):
        await made.authenticate(plain)
    told = [kind for kind, _ in await kinds(redis_async)]
    assert told[-3:] == ["key.revoked", "credentials.erased", "tenant.deleted"]


async def test_a_deleted_tenant_never_comes_back(redis_async: Redis) -> None:
    """Its name is not given again: whoever had it would be shown what the old one left."""
    store, made = TenantStore(redis_async), KeyStore(redis_async)
    await store.create("acme", by="cli")
    await store.suspend("acme", by="cli")
    await store.delete("acme", by="cli")
    assert (await store.get("acme")).state == "deleted"
    for ask in (
        store.create("acme", by="cli"),
        store.suspend("acme", by="cli"),
        store.resume("acme", by="cli"),
        store.delete("acme", by="cli"),
        made.create("acme", "a"),
        TermsStore(redis_async).set("acme", None, {"weight": 2}, by="cli"),
    ):
        with pytest.raises(Conflict, match="deleted"):
            await ask


async def test_who_runs_the_service_locks_nobody_out_of_it(redis_async: Redis) -> None:
    """The operator's own tenant is neither suspended nor deleted."""
    store = TenantStore(redis_async)
    await KeyStore(redis_async).create(OPERATOR, "o")
    with pytest.raises(Conflict):
        await store.suspend(OPERATOR, by="cli")
    with pytest.raises(Conflict):
        await store.delete(OPERATOR, by="cli")


async def test_nobody_changes_a_tenant_that_is_not(redis_async: Redis) -> None:
    """Nothing is made by asking for it."""
    store = TenantStore(redis_async)
    for ask in (store.get("acme"), store.suspend("acme", by="x"), store.resume("acme", by="x")):
        with pytest.raises(NotFound):
            await ask
    assert await redis_async.dbsize() == 0
