"""Nobody gives by a key more than they have: scopes, life, grants and limits, at that moment."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Forbidden, ServiceError, Unauthenticated
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet
from tenancy.key_changes import KeyChange
from tenancy.keys import KeyStore
from tenancy.scopes import Role, Scope
from tenancy.terms import TermsStore
from tests.key_moments import DAY_MS, redis_ms

pytestmark = pytest.mark.anyio


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
