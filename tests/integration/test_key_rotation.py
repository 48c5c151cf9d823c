"""A rotated key keeps its id and rights; its old text ends on time, and gives nothing meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Invalid, Unauthenticated
from tenancy.key_changes import MAX_GRACE_S, KeyChange
from tenancy.keys import KeyStore
from tenancy.scopes import Role, Scope
from tests.key_moments import let_pass, redis_ms

pytestmark = pytest.mark.anyio


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
