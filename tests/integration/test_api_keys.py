"""API keys in a real Redis: shown once, kept as digests, gone at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from core.redis_client import connect_async
from tenancy.keys import KeyStore, digest_of, new_plain_key
from tenancy.scopes import DEFAULT_SCOPES, Scope
from tenancy.tenants import OPERATOR

pytestmark = pytest.mark.anyio


async def test_a_key_opens_its_tenant_until_it_is_revoked(redis_async: Redis) -> None:
    """A key authenticates as its tenant, and no longer after it was revoked."""
    store = KeyStore(redis_async, clock=lambda: 1_000)
    plain, record = await store.create("acme", "ci")
    assert await store.authenticate(plain) == record
    assert (record.tenant, record.name, record.last4) == ("acme", "ci", plain[-4:])
    assert record.created_ms == 1_000
    assert await store.revoke("acme", record.id) == record
    with pytest.raises(Unauthenticated):
        await store.authenticate(plain)


async def test_a_key_has_the_scopes_it_was_given(redis_async: Redis) -> None:
    """Only reading and writing runs come by themselves; all others are given by name, once."""
    store = KeyStore(redis_async)
    plain, _ = await store.create("acme", "plain")
    assert (await store.authenticate(plain)).scopes == DEFAULT_SCOPES
    scopes = (Scope.GRANTS_ADMIN, Scope.FORCE, Scope.FORCE)
    plain, _ = await store.create("acme", "admin", scopes=scopes)
    assert (await store.authenticate(plain)).scopes == scopes[:2]


async def test_who_lacks_a_scope_is_told_how_a_key_with_it_is_made(redis_async: Redis) -> None:
    """Of its own tenant; scopes that only operators have, of theirs."""
    _, key = await KeyStore(redis_async).create("acme", "agent")
    for scope, tenant in ((Scope.FORCE, "acme"), (Scope.TENANTS_ADMIN, OPERATOR)):
        with pytest.raises(Forbidden) as refused:
            key.require(scope)
        assert f"--tenant {tenant} --scope {scope}" in (refused.value.hint or "")


async def test_redis_never_holds_the_key(redis_async: Redis) -> None:
    """Nothing that is stored contains the key or its secret part."""
    plain, _ = await KeyStore(redis_async).create("acme", "ci")
    dump = repr(await redis_async.hgetall(keys.KEYS)) + repr(await redis_async.keys("*"))
    assert digest_of(plain) in dump
    assert plain[8:51] not in dump


async def test_unknown_and_malformed_keys_are_refused(redis_async: Redis) -> None:
    """A well-formed key that we did not make and a malformed one open nothing."""
    store = KeyStore(redis_async)
    for plain in (new_plain_key(), "", "ms_live_x", "\ud800", "ms_live_" + "\u00e9" * 43):
        with pytest.raises(Unauthenticated):
            await store.authenticate(plain)


async def test_a_record_under_a_foreign_digest_opens_nothing(redis_async: Redis) -> None:
    """A record copied to the digest of another key does not let that key in."""
    store = KeyStore(redis_async)
    _, record = await store.create("acme", "ci")
    other = new_plain_key()
    await redis_async.hset(keys.KEYS, digest_of(other), record.model_dump_json())
    with pytest.raises(Unauthenticated):
        await store.authenticate(other)


async def test_lists_and_revocations_stay_within_a_tenant(redis_async: Redis) -> None:
    """A tenant's list has its own keys only, and nobody revokes another's."""
    store = KeyStore(redis_async)
    _, first = await store.create("acme", "one", scopes=[Scope.READ])
    _, second = await store.create("acme", "two")
    _, foreign = await store.create("globex", "three")
    assert await store.all("acme") == [first, second]
    with pytest.raises(NotFound):
        await store.revoke("acme", foreign.id)
    assert await store.all("globex") == [foreign]


@pytest.mark.parametrize(
    ("tenant", "name"),
    [("Acme", "x"), ("a.b", "x"), ("", "x"), ("acme", ""), ("acme", "x" * 81), ("acme", "a\nb")],
)
async def test_bad_names_make_no_key(redis_async: Redis, tenant: str, name: str) -> None:
    """A tenant or key name that could break a key, a list or a log is refused."""
    with pytest.raises(Invalid):
        await KeyStore(redis_async).create(tenant, name)
    assert await redis_async.dbsize() == 0


async def test_nobody_gets_in_while_redis_is_away(tmp_path: Path) -> None:
    """Without Redis a key is neither accepted nor called wrong."""
    async with connect_async(f"unix://{tmp_path}/none.sock") as redis:
        with pytest.raises(Unavailable):
            await KeyStore(redis).authenticate(new_plain_key())
