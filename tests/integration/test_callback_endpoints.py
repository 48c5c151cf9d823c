"""Endpoints of callbacks: of one tenant, bounded in number, with secrets that stand nowhere."""

from __future__ import annotations

from typing import Any, cast

import pytest

from core import keys
from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.ids import new_id
from tests.callback_room import HERE, Redis, Room
from tests.deadline import Deadline
from triggers.callback_store import MAX_ENDPOINTS, CallbackStore, Change


@pytest.fixture
def room(redis_async: Redis, deadline: Deadline) -> Room:
    """An empty Redis with everything on it."""
    return Room.of(redis_async, deadline)


async def test_secrets_stand_in_clear_nowhere(room: Room) -> None:
    """Neither Redis nor what is shown of an endpoint holds its secret."""
    endpoint, secret = await room.endpoint("http://127.0.0.1:9/")
    dump = await cast("Any", room.redis.hgetall)(keys.callback(endpoint.id))

    assert secret.removeprefix("whsec_") not in str(dump)
    assert secret.removeprefix("whsec_") not in endpoint.model_dump_json()


async def test_targets_are_of_the_tenant(room: Room) -> None:
    """Another tenant's endpoint answers like one that never was; an address needs who signs it."""
    mine, _ = await room.endpoint("https://example.com/")
    theirs, _ = await room.endpoint("https://example.com/", tenant="other")
    assert await room.store.target("acme", mine.id) == mine.id
    messages = set()
    for text in (theirs.id, new_id("clb"), "clb_x", "nothing", "", "x" * 5000):
        with pytest.raises(Invalid) as refused:
            await room.store.target("acme", text)
        messages.add(refused.value.detail)
    assert len(messages) == 1
    with pytest.raises(Invalid, match="whose secret could sign"):
        await room.store.target("acme", "https://example.com/x")
    signer, _ = await room.endpoint(None)
    found = await room.store.target("acme", "https://example.com/x")
    assert found == f"{signer.id} https://example.com/x"
    with pytest.raises(Invalid, match="has no address"):
        await room.store.target("acme", signer.id)


async def test_endpoints_and_deliveries_of_others_cannot_be_seen_or_changed(room: Room) -> None:
    """Foreign ids answer exactly like ids that never were."""
    theirs, _ = await room.endpoint("https://example.com/", tenant="other")
    delivery = await room.ended(theirs.id, tenant="other")
    for endpoint_id in (theirs.id, new_id("clb"), "clb_x"):
        for act in (
            lambda one: room.store.get("acme", one),
            lambda one: room.store.change("acme", one, Change(name="n"), by="k"),
            lambda one: room.store.delete("acme", one, by="k"),
            lambda one: room.store.add_secret("acme", one, by="k"),
        ):
            with pytest.raises(NotFound, match="no callback endpoint with this id"):
                await cast("Any", act)(endpoint_id)
    assert (await room.log.page("acme", theirs.id))[0] == []
    for delivery_id in (delivery, new_id("dlv"), "dlv_x"):
        with pytest.raises(NotFound, match="no delivery with this id"):
            await room.log.get("acme", delivery_id)
        with pytest.raises(NotFound, match="no delivery with this id"):
            await room.log.replay("acme", delivery_id)
    assert (await room.store.get("other", theirs.id)).name == "test"


async def test_lists_are_paged_and_bounded(room: Room) -> None:
    """Newest first, with cursors; a tenant has at most so many endpoints."""
    made = [(await room.endpoint("https://example.com/"))[0].id for _ in range(MAX_ENDPOINTS)]
    with pytest.raises(Conflict, match="no more are taken"):
        await room.endpoint("https://example.com/")
    first, cursor = await room.store.page("acme", limit=30)
    rest, end = await room.store.page("acme", cursor=cursor, limit=30)
    assert sorted([one.id for one in first + rest]) == sorted(made)
    assert (len(first), end) == (30, None)
    deliveries = [await room.ended(made[0]) for _ in range(5)]
    page, cursor = await room.log.page("acme", made[0], limit=3)
    more, end = await room.log.page("acme", made[0], cursor=cursor, limit=3)
    assert {one.id for one in page + more} == set(deliveries)
    assert end is None
    for bad in ("clb_x", "", "dlv_" + "0" * 26):
        with pytest.raises(Invalid):
            await room.log.page("acme", made[0], cursor=bad)


async def test_without_trigger_keys_no_endpoint_is_made(redis_async: Redis) -> None:
    """No secret can be kept: it is said which setting is missing, and nothing is written."""
    store = CallbackStore(redis_async, None, HERE)
    with pytest.raises(Unavailable, match="no trigger key"):
        await store.create("acme", "x", "https://example.com/", by="k")
    assert await cast("Any", redis_async.keys)("*") == []
