"""Keys expire, change within their tenant and its bounds, and are known by one question."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Conflict, Invalid, NotFound, Unauthenticated
from tenancy.key_changes import MAX_KEYS, KeyChange
from tenancy.key_record import MAX_EXPIRES_MS
from tenancy.keys import KeyStore
from tenancy.scopes import Role, Scope
from tenancy.tenant_store import TenantStore
from tenancy.tenants import OPERATOR
from tests.key_moments import DAY_MS, let_pass, redis_ms

pytestmark = pytest.mark.anyio


async def leaves(redis: Redis) -> list[dict[str, Any]]:
    """Give what stands in the inbox of the ledger."""
    rows: Any = await redis.xrange(keys.LEDGER_INBOX)
    return [orjson.loads(fields[b"leaf"]) for _, fields in rows]


async def test_a_key_opens_until_its_expiry_by_the_clock_of_redis(redis_async: Redis) -> None:
    """A host with a clock that is hours wrong neither shortens nor prolongs a key's life."""
    wrong = KeyStore(redis_async, clock=lambda: 5)
    ends = await redis_ms(redis_async) + DAY_MS
    plain, record = await wrong.create("acme", "a", expires_ms=ends)
    assert (await wrong.authenticate(plain)).expires_ms == ends
    await let_pass(redis_async, record.digest, "expires_ms", DAY_MS + 1)
    with pytest.raises(Unauthenticated, match="expired"):
        await wrong.authenticate(plain)
    assert [one.id for one in await wrong.all("acme")] == [record.id]


@pytest.mark.parametrize("ends", [0, -1, 1_000, MAX_EXPIRES_MS + 1, 10**30])
async def test_an_expiry_in_the_past_makes_no_key(redis_async: Redis, ends: int) -> None:
    """A key that would never open, or never end, is refused."""
    with pytest.raises(Invalid):
        await KeyStore(redis_async).create("acme", "a", expires_ms=ends)
    assert await redis_async.exists(keys.KEYS) == 0


async def test_foreign_keys_are_as_keys_that_never_were(redis_async: Redis) -> None:
    """No change reaches another tenant's key, and none tells that there is one."""
    store = KeyStore(redis_async)
    _, mine = await store.create("acme", "g", scopes=Role.ADMIN.scopes)
    plain, foreign = await store.create("globex", "a")
    told: dict[str, set[str]] = {}
    for key_id in (foreign.id, "key_00000000000000000000000000", "", "x" * 500, "acme\x00"):
        for ask in (
            store.get("acme", key_id),
            store.change("acme", key_id, KeyChange(name="n"), giver=mine),
            store.rotate("acme", key_id, giver=mine),
            store.revoke("acme", key_id, giver=mine),
        ):
            with pytest.raises(NotFound) as refused:
                await ask
            said = re.sub(r"'.*'", "ID", refused.value.detail)
            told.setdefault(said, set()).add(key_id)
    assert len(told) == 1
    assert (await store.authenticate(plain)) == foreign


async def test_last_use_is_written_once_a_minute(redis_async: Redis) -> None:
    """A key that is used all the time costs one write a minute, and one that is refused none."""
    store = KeyStore(redis_async)
    plain, record = await store.create("acme", "a")
    assert await store.last_uses("acme", [record.id]) == {}
    await store.authenticate(plain)
    first = await store.last_uses("acme", [record.id])
    for _ in range(20):
        await store.authenticate(plain)
    assert await store.last_uses("acme", [record.id]) == first
    an_hour_ago = first[record.id] - 3_600_000
    await redis_async.hset(keys.key_uses("acme"), record.id, an_hour_ago)
    await store.authenticate(plain)
    assert (await store.last_uses("acme", [record.id]))[record.id] >= first[record.id]


async def test_a_redis_that_takes_no_writes_still_knows_keys(redis_async: Redis) -> None:
    """Who somebody is can be asked of a full Redis: the note of the last use is left out."""
    store = KeyStore(redis_async)
    plain, record = await store.create("acme", "a")
    await redis_async.config_set("maxmemory", 1)
    try:
        assert await store.authenticate(plain) == record
    finally:
        await redis_async.config_set("maxmemory", 0)
    assert await store.last_uses("acme", [record.id]) == {}


async def test_who_shows_a_key_is_one_question_to_redis(redis_async: Redis) -> None:
    """Authentication is one command, whatever the key is and for whomever it acts."""
    store = KeyStore(redis_async)
    plain, record = await store.create(OPERATOR, "o", scopes=Role.SERVICE.scopes)
    await store.create("acme", "a")
    await store.rotate(OPERATOR, record.id, grace_s=600)
    await store.authenticate(plain)  # the server learns the script
    before = await redis_async.info("stats")
    for _ in range(10):
        await store.authenticate(plain)
    after = await redis_async.info("stats")
    # The question of the statistics itself is one.
    assert after["total_commands_processed"] - before["total_commands_processed"] <= 10 * 8 + 1
    assert after["total_reads_processed"] - before["total_reads_processed"] == 11


async def test_a_tenant_has_so_many_keys_and_no_more(
    redis_async: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound counts what is kept, and revocation makes room."""
    assert MAX_KEYS == 1_000
    monkeypatch.setattr("tenancy.key_changes.MAX_KEYS", 2)
    store = KeyStore(redis_async)
    _, first = await store.create("acme", "a")
    await store.create("acme", "b")
    with pytest.raises(Conflict):
        await store.create("acme", "c")
    await store.revoke("acme", first.id)
    await store.create("acme", "c")


async def test_tenants_are_bounded_however_they_are_made(
    redis_async: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first key makes no tenant beyond the bound either."""
    monkeypatch.setattr("tenancy.tenant_record.MAX_TENANTS", 2)
    store = KeyStore(redis_async)
    for name in ("one", "two"):
        await store.create(name, "a")
    with pytest.raises(Conflict):
        await store.create("three", "a")
    with pytest.raises(Conflict):
        await TenantStore(redis_async).create("three", by="cli")
    await store.create("two", "b")


async def test_every_change_is_a_leaf_without_the_text(redis_async: Redis) -> None:
    """Making, changing, rotating and revoking are told in order, with digests and scopes only."""
    store = KeyStore(redis_async, clock=lambda: 7)
    old, record = await store.create("acme", "a name of a user")
    new, _ = await store.rotate("acme", record.id, grace_s=5)
    await store.change("acme", record.id, KeyChange(scopes=(Scope.READ,)))
    await store.revoke("acme", record.id)
    told = await leaves(redis_async)
    assert [one["kind"] for one in told] == [
        "tenant.created",
        "key.created",
        "key.rotated",
        "key.changed",
        "key.revoked",
    ]
    assert all(one["by"] == "cli" and one["at_ms"] == 7 for one in told)
    assert told[2]["replaced_sha256"] == told[1]["sha256"] != told[2]["sha256"]
    for text in (old[8:51], new[8:51], "a name of a user"):
        assert text not in str(told)
