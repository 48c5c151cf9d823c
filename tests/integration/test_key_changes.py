"""Expiry, rotation and revocation of API keys, and that nobody gives more than they have."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson
import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Conflict, Forbidden, Invalid, NotFound, ServiceError, Unauthenticated
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet
from tenancy.key_changes import MAX_GRACE_S, MAX_KEYS, KeyChange
from tenancy.key_record import MAX_EXPIRES_MS, KeyRecord
from tenancy.keys import KeyStore
from tenancy.scopes import Role, Scope
from tenancy.tenant_store import TenantStore
from tenancy.tenants import OPERATOR
from tenancy.terms import TermsStore

pytestmark = pytest.mark.anyio
DAY_MS = 86_400_000


async def redis_ms(redis: Redis) -> int:
    """Give the time by Redis' clock, in Unix milliseconds."""
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def let_pass(redis: Redis, digest: str, name: str, by_ms: int) -> None:
    """Move a moment that stands in a record into the past, as if so much time had gone by."""
    record = orjson.loads(await redis.hget(keys.KEYS, digest) or b"")
    record[name] -= by_ms
    await redis.hset(keys.KEYS, digest, orjson.dumps(record))


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


async def test_a_rotated_key_keeps_its_id_and_its_old_text_ends(redis_async: Redis) -> None:
    """The new text opens at once, the old one until the grace period is over, and no longer."""
    store = KeyStore(redis_async)
    old, record = await store.create("acme", "a", scopes=Role.DEVELOPER.scopes)
    new, after = await store.rotate("acme", record.id, grace_s=60)
    assert (after.id, after.scopes) == (record.id, record.scopes)
    assert after.last4 == new[-4:] != old[-4:]
    assert (await store.authenticate(new)).id == record.id
    assert (await store.authenticate(old)).id == record.id
    await let_pass(redis_async, after.digest, "previous_ends_ms", 60_001)
    with pytest.raises(Unauthenticated, match="grace"):
        await store.authenticate(old)
    assert (await store.authenticate(new)).id == record.id


async def test_without_grace_the_old_text_ends_at_once(redis_async: Redis) -> None:
    """A rotation because of a leak leaves the leaked text nothing."""
    store = KeyStore(redis_async)
    old, record = await store.create("acme", "a")
    new, _ = await store.rotate("acme", record.id)
    with pytest.raises(Unauthenticated):
        await store.authenticate(old)
    assert (await store.authenticate(new)).id == record.id
    assert await redis_async.hlen(keys.KEYS) == 1


async def test_two_rotations_leave_two_texts_at_most(redis_async: Redis) -> None:
    """A second rotation ends the text that the first had replaced, whatever its grace."""
    store = KeyStore(redis_async)
    first, record = await store.create("acme", "a")
    second, _ = await store.rotate("acme", record.id, grace_s=600)
    third, _ = await store.rotate("acme", record.id, grace_s=600)
    with pytest.raises(Unauthenticated):
        await store.authenticate(first)
    for plain in (second, third):
        assert (await store.authenticate(plain)).id == record.id
    assert await redis_async.hlen(keys.KEYS) == 2


async def test_a_replaced_text_administers_nothing(redis_async: Redis) -> None:
    """Whoever found an old key cannot make, rotate or widen keys with it in its grace period."""
    store = KeyStore(redis_async)
    old, record = await store.create("acme", "a", scopes=Role.ADMIN.scopes)
    await store.rotate("acme", record.id, grace_s=600)
    left = set((await store.authenticate(old)).scopes)
    assert set(Role.ADMIN.scopes) - left == {Scope.GRANTS_ADMIN, Scope.KEYS_ADMIN}


async def test_changes_hold_for_a_replaced_text_too(redis_async: Redis) -> None:
    """Scopes that are taken away, and revocation, reach both texts of a rotated key."""
    store = KeyStore(redis_async)
    old, record = await store.create("acme", "a")
    new, _ = await store.rotate("acme", record.id, grace_s=600)
    await store.change("acme", record.id, KeyChange(scopes=(Scope.READ,)))
    for plain in (old, new):
        assert (await store.authenticate(plain)).scopes == (Scope.READ,)
    await store.revoke("acme", record.id)
    for plain in (old, new):
        with pytest.raises(Unauthenticated):
            await store.authenticate(plain)
    assert await redis_async.hlen(keys.KEYS) == 0


async def test_a_grace_period_never_outlives_the_key(redis_async: Redis) -> None:
    """The old text of a key that expires in an hour does not go on for a day."""
    store = KeyStore(redis_async)
    ends = await redis_ms(redis_async) + 3_600_000
    _, record = await store.create("acme", "a", expires_ms=ends)
    _, after = await store.rotate("acme", record.id, grace_s=86_400)
    assert after.previous_ends_ms == ends
    for wrong in (-1, MAX_GRACE_S + 1):
        with pytest.raises(Invalid):
            await store.rotate("acme", record.id, grace_s=wrong)


async def test_nobody_gives_a_scope_that_they_lack(redis_async: Redis) -> None:
    """Neither by making a key, nor by changing one, nor by being shown the text of a greater."""
    store = KeyStore(redis_async)
    _, giver = await store.create("acme", "g", scopes=[Scope.READ, Scope.KEYS_ADMIN])
    _, greater = await store.create("acme", "m", scopes=Role.ADMIN.scopes)
    with pytest.raises(Forbidden, match="runs:write"):
        await store.create("acme", "x", giver=giver)
    _, lesser = await store.create("acme", "x", scopes=[Scope.READ], giver=giver)
    change = KeyChange(scopes=(Scope.READ, Scope.FORCE))
    with pytest.raises(Forbidden, match="runs:force"):
        await store.change("acme", lesser.id, change, giver=giver)
    with pytest.raises(Forbidden, match="grants:admin"):
        await store.rotate("acme", greater.id, giver=giver)
    change = KeyChange(scopes=(*giver.scopes, Scope.WRITE))
    with pytest.raises(Forbidden):
        await store.change("acme", giver.id, change, giver=giver)
    # To take away is allowed, from a greater key too; what stays need not be one's own.
    left = KeyChange(scopes=(Scope.READ, Scope.GRANTS_ADMIN))
    assert (await store.change("acme", greater.id, left, giver=giver)).scopes == left.scopes


async def test_nobody_gives_a_longer_life_than_their_own(redis_async: Redis) -> None:
    """A key that ends tonight makes no key for ever, and prolongs none, nor itself."""
    store = KeyStore(redis_async)
    ends = await redis_ms(redis_async) + DAY_MS
    _, giver = await store.create("acme", "g", scopes=Role.ADMIN.scopes, expires_ms=ends)
    _, made = await store.create("acme", "x", giver=giver)
    assert made.expires_ms == ends
    _, forever = await store.create("acme", "f")
    with pytest.raises(Forbidden, match="longer"):
        await store.create("acme", "x", expires_ms=ends + 1, giver=giver)
    for target, change in (
        (made.id, KeyChange(expires_ms=ends + 1)),
        (made.id, KeyChange(expires_ms=0)),
        (giver.id, KeyChange(expires_ms=0)),
    ):
        with pytest.raises(Forbidden, match="longer"):
            await store.change("acme", target, change, giver=giver)
    with pytest.raises(Forbidden, match="longer"):
        await store.rotate("acme", forever.id, giver=giver)
    sooner = await store.change("acme", forever.id, KeyChange(expires_ms=ends - 1), giver=giver)
    assert sooner.expires_ms == ends - 1
    assert (await store.change("acme", forever.id, KeyChange(name="n"), giver=giver)).name == "n"


async def test_a_key_with_grants_hands_them_on(redis_async: Redis) -> None:
    """A key that may call less gives keys that may call as little, and takes over no other."""
    store, grants = KeyStore(redis_async), GrantStore(redis_async)
    _, giver = await store.create("acme", "g", scopes=Role.ADMIN.scopes)
    _, free = await store.create("acme", "f")
    await grants.set("acme", giver.id, GrantSet.parse(["mux:read"]), by="cli")
    _, made = await store.create("acme", "x", giver=giver)
    _, of_keys = await grants.all("acme")
    assert of_keys[made.id] == of_keys[giver.id]
    with pytest.raises(Forbidden, match="grants"):
        await store.rotate("acme", free.id, giver=giver)
    await store.rotate("acme", made.id, giver=giver)
    await store.rotate("acme", giver.id, giver=giver)


async def test_an_operators_key_has_no_grants_that_would_be_passed_over(redis_async: Redis) -> None:
    """It acts under other tenants, where grants and limits of its own are not looked for."""
    with pytest.raises(Invalid, match="operator"):
        await GrantStore(redis_async).set(OPERATOR, None, GrantSet.parse(["mux:read"]), by="cli")
    with pytest.raises(Invalid, match="operator"):
        await TermsStore(redis_async).set(OPERATOR, None, {"weight": 1}, by="cli")
    assert await redis_async.dbsize() == 0


async def test_a_key_with_limits_makes_no_keys_without(redis_async: Redis) -> None:
    """Ten keys of a hundred runs a day each would be a thousand: such a key gives none."""
    store, terms = KeyStore(redis_async), TermsStore(redis_async)
    _, giver = await store.create("acme", "g", scopes=Role.ADMIN.scopes)
    await terms.set("acme", giver.id, {"runs_per_day": 100}, by="cli")
    with pytest.raises(Forbidden, match="limits"):
        await store.create("acme", "x", giver=giver)
    with pytest.raises(Forbidden, match="limits"):
        await terms.set("acme", giver.id, {"runs_per_day": None}, by=giver.id, giver=giver)


async def test_a_key_that_was_revoked_meanwhile_gives_nothing(redis_async: Redis) -> None:
    """Who was let in a moment before revocation, rotation or expiry makes no key after it."""
    store = KeyStore(redis_async)
    made = [await store.create("acme", "g", scopes=Role.ADMIN.scopes) for _ in range(2)]
    revoked, rotated = [await store.authenticate(plain) for plain, _ in made]
    await store.revoke("acme", revoked.id)
    await store.rotate("acme", rotated.id, grace_s=600)
    ended = (await store.create("acme", "g", scopes=Role.ADMIN.scopes))[1].model_copy(
        update={"expires_ms": 1}
    )
    before = await redis_async.hgetall(keys.KEYS)
    for giver in (revoked, rotated, ended):
        with pytest.raises(ServiceError):
            await store.create("acme", "x", giver=giver)
        with pytest.raises(Unauthenticated):
            await store.rotate("acme", rotated.id, giver=giver)
    assert await redis_async.hgetall(keys.KEYS) == before


async def test_a_key_that_was_narrowed_meanwhile_gives_what_it_has_left(redis_async: Redis) -> None:
    """Scopes and life that were taken away after a giver was let in are not given any more."""
    store = KeyStore(redis_async)
    made = [await store.create("acme", "g", scopes=Role.ADMIN.scopes) for _ in range(2)]
    fewer, shorter = [await store.authenticate(plain) for plain, _ in made]
    await store.change("acme", fewer.id, KeyChange(scopes=(Scope.KEYS_ADMIN, Scope.READ)))
    ends = await redis_ms(redis_async) + DAY_MS
    await store.change("acme", shorter.id, KeyChange(expires_ms=ends))
    before = await redis_async.hgetall(keys.KEYS)
    for giver in (fewer, shorter):
        with pytest.raises(Unauthenticated, match="changed"):
            await store.create("acme", "x", scopes=Role.ADMIN.scopes, giver=giver)
        with pytest.raises(Unauthenticated, match="changed"):
            await TermsStore(redis_async).set(
                "acme", giver.id, {"runs_per_day": 1}, by="", giver=giver
            )
    assert await redis_async.hgetall(keys.KEYS) == before


async def test_a_key_is_there_while_it_is_rotated(redis_async: Redis) -> None:
    """Who asks for a key in the moment of its rotation is not told that there is none."""
    store = KeyStore(redis_async)
    _, record = await store.create("acme", "a")

    async def look() -> None:
        for _ in range(10):
            assert (await store.get("acme", record.id)).id == record.id
            assert [one.id for one in await store.all("acme")] == [record.id]

    await asyncio.gather(
        *(store.rotate("acme", record.id) for _ in range(10)), *(look() for _ in range(4))
    )


async def test_two_rotations_at_once_are_one_after_the_other(redis_async: Redis) -> None:
    """Of texts that are given out at the same moment, no more than two open, and the last does."""
    store = KeyStore(redis_async)
    first, record = await store.create("acme", "a")
    given = await asyncio.gather(*(store.rotate("acme", record.id, grace_s=600) for _ in range(5)))
    opened = 0
    for plain in (first, *(plain for plain, _ in given)):
        try:
            await store.authenticate(plain)
        except Unauthenticated:
            continue
        opened += 1
    assert opened == 2
    assert await redis_async.hlen(keys.KEYS) == 2


class Meddled:
    """A connection on which something else happens after the first look into an index of keys."""

    def __init__(self, client: Redis, index: str, meanwhile: Callable[[], Awaitable[Any]]) -> None:
        self._client, self._index = client, index
        self._meanwhile: Callable[[], Awaitable[Any]] | None = meanwhile

    def pipeline(self, *, transaction: bool) -> Any:
        """Give a pipeline that is late once."""
        pipe = self._client.pipeline(transaction=transaction)
        plain = pipe.hget

        async def hget(name: str, field: str) -> Any:
            found = await cast("Any", plain(name, field))
            if name == self._index and self._meanwhile is not None:
                meanwhile, self._meanwhile = self._meanwhile, None
                await meanwhile()
            return found

        cast("Any", pipe).hget = hget
        return pipe


@pytest.mark.parametrize("grace_s", [0, 600])
async def test_a_key_that_is_rotated_while_it_is_looked_up_is_found_at_its_new_place(
    redis_async: Redis, grace_s: int
) -> None:
    """Its old place is empty by then, or leads to the new one: neither is a record."""
    store = KeyStore(redis_async)
    _, record = await store.create("acme", "a")

    async def rotated() -> None:
        await store.rotate("acme", record.id, grace_s=grace_s)

    late = KeyStore(cast("Any", Meddled(redis_async, keys.tenant_keys("acme"), rotated)))
    changed = await late.change("acme", record.id, KeyChange(name="b"))
    assert (changed.name, changed.digest != record.digest) == ("b", True)
    assert await store.get("acme", record.id) == changed


@pytest.mark.parametrize("grace_s", [0, 600])
async def test_a_key_that_is_rotated_while_it_gives_gives_nothing(
    redis_async: Redis, grace_s: int
) -> None:
    """Who was let in with the old text is told to ask again, and no key is made."""
    store = KeyStore(redis_async)
    _, giver = await store.create("acme", "g", scopes=Role.ADMIN.scopes)

    async def rotated() -> None:
        await store.rotate("acme", giver.id, grace_s=grace_s)

    late = KeyStore(cast("Any", Meddled(redis_async, keys.tenant_keys("acme"), rotated)))
    with pytest.raises(Unauthenticated):
        await late.create("acme", "b", giver=giver)
    assert [one.id for one in await store.all("acme")] == [giver.id]


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


def test_a_record_never_shows_where_it_acts_in_what_is_kept() -> None:
    """An operator's key that acts for a tenant is kept as the operator's, if it were written."""
    record = KeyRecord(id="key_1", tenant=OPERATOR, name="x", last4="", created_ms=0, digest="")
    assert "home" not in record.acting_for("acme").model_dump()
    assert record.acting_for("acme").acting_for("globex").owner == OPERATOR
