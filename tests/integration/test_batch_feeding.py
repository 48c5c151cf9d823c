"""Feeding batches: in order, none twice, none left out, never more than may be on their way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import OutOfMemoryError

from core import keys
from core.errors import Invalid, Unavailable
from runs.acceptance import Terms
from runs.batches.feeding import Fed
from runs.batches.model import BatchRequest, BatchState, Item
from runs.batches.upload import Upload
from runs.model import RunRequest
from runs.store import RunStore
from scheduler.feeding import Feeding
from tenancy.keys import KeyRecord, KeyStore
from tenancy.terms import TermsStore
from tests.batches import NO_OP, Batches
from tests.run_ends import end

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.fixture
async def acme(redis_async: Redis) -> Batches:
    """A tenant that makes batches."""
    return await Batches.of(redis_async)


async def test_items_become_runs_in_their_order(acme: Batches, redis_async: Redis) -> None:
    """What is fed is queued in the order of items, each run with its batch and place."""
    batch = await acme.make(300, concurrency=400)

    fed = await acme.feeder.feed(batch.id)

    assert fed.count == 200
    await acme.feeder.feed(batch.id)
    ids = await acme.runs(batch.id)
    assert len(ids) == len(set(ids)) == 300
    assert ids == sorted(ids)
    rows: Any = [await redis_async.hmget(keys.run(one), ["input", "item"]) for one in ids]
    assert [tuple(row) for row in rows] == [(b"%d" % n, b"%d" % n) for n in range(300)]
    assert (await acme.get(batch.id)).counts.in_flight == 300


async def test_no_more_are_on_their_way_than_the_batch_may_have(
    acme: Batches, redis_async: Redis
) -> None:
    """`concurrency` counts what is queued, runs or waits; an end makes room for the next item."""
    batch = await acme.make(10, concurrency=3)

    await acme.feeder.feed(batch.id)
    assert len(await acme.runs(batch.id)) == 3
    assert (await acme.feeder.feed(batch.id)).count == 0
    await end(redis_async, "acme", (await acme.runs(batch.id))[:2])

    assert (await acme.feeder.feed(batch.id)).count == 2
    record = await acme.get(batch.id)
    assert (record.counts.in_flight, record.counts.cancelled, record.counts.pending) == (3, 2, 5)


async def test_two_feeders_feed_each_item_once(acme: Batches, redis_async: Redis) -> None:
    """Several schedulers at one batch: what one fed, the other does not."""
    other = Batches(redis_async, "acme", acme.giver, acme.store._terms)
    batch = await acme.make(500, concurrency=1_000)

    for _ in range(4):
        await asyncio.gather(acme.feeder.feed(batch.id), other.feeder.feed(batch.id))

    ids = await acme.runs(batch.id)
    assert len(ids) == len(set(ids)) == 500


async def test_items_bring_their_own_script_limits_seed_and_name(
    acme: Batches, redis_async: Redis
) -> None:
    """What an item says wins over its batch; the rest is the batch's."""
    run = RunRequest(script="return 0", limits={"calls": 5, "wall_ms": 900}, seed=7, name="all")
    own = Item(b"null", script=b"return 1", limits={"calls": 9}, seed=8, name="one")
    batch = await acme.make([own, Item(b"[1]")], run)

    await acme.feeder.feed(batch.id)

    runs = RunStore(redis_async)
    first, second = [await runs.get("acme", one) for one in await acme.runs(batch.id)]
    assert (first.seed, first.name) == (8, "one")
    assert (first.limits["calls"], first.limits["wall_ms"]) == (9, 900)
    assert (second.seed, second.name, second.limits["calls"]) == (7, "all", 5)
    assert first.script_sha256 != second.script_sha256
    assert await redis_async.get(keys.script(first.script_sha256)) == b"return 1"
    assert first.origin is not None
    assert (first.origin.kind, first.origin.id) == ("batch", batch.id)


async def test_a_batch_leaves_places_for_other_runs_of_its_tenant(redis_async: Redis) -> None:
    """It fills three quarters of the queue; the rest is for what is submitted otherwise."""
    acme = await Batches.of(redis_async, queue_max=8)
    batch = await acme.make(20)

    fed = await acme.feeder.feed(batch.id)

    assert (fed.count, fed.again_s) == (6, 1.0)
    runs = RunStore(redis_async, Terms(queue_max=8))
    await runs.submit("acme", RunRequest(script="return 1"), key_id=acme.giver.key_id)


async def test_a_quota_holds_back_a_batch_and_loses_nothing_of_it(
    acme: Batches, redis_async: Redis
) -> None:
    """So many runs are accepted as may be; the rest waits and is fed when there is room."""
    await TermsStore(redis_async).set("acme", None, {"runs_per_minute": 7}, by="test")
    batch = await acme.make(20)

    fed = await acme.feeder.feed(batch.id)

    assert fed.count == 7
    assert fed.again_s is not None
    assert 1 <= fed.again_s <= 61
    assert (await acme.get(batch.id)).counts.pending == 13
    await TermsStore(redis_async).set("acme", None, {"runs_per_minute": None}, by="test")
    assert (await acme.feeder.feed(batch.id)).count == 13


async def test_limits_are_held_to_the_ceilings_of_the_moment(
    acme: Batches, redis_async: Redis
) -> None:
    """A ceiling that is lowered lowers the runs that are fed from then on."""
    run = RunRequest(script="return 1", limits={"calls": 50})
    batch = await acme.make([Item(b"1"), Item(b"2", limits={"calls": 90})], run)
    await TermsStore(redis_async).set("acme", None, {"ceiling.calls": 10}, by="test")

    await acme.feeder.feed(batch.id)

    runs = RunStore(redis_async)
    found = [await runs.get("acme", one) for one in await acme.runs(batch.id)]
    assert [one.limits["calls"] for one in found] == [10, 10]
    with pytest.raises(Invalid, match="limit calls must be at most 10"):
        await acme.make(1, run)


async def test_a_batch_ends_with_its_key(acme: Batches, redis_async: Redis) -> None:
    """A key that was revoked starts nothing more: its grants went with it."""
    batch = await acme.make(10, concurrency=4)
    await acme.feeder.feed(batch.id)
    await KeyStore(redis_async).revoke("acme", acme.giver.key_id)
    await end(redis_async, "acme", (await acme.runs(batch.id))[:1])

    await acme.feeder.feed(batch.id)
    await acme.feeder.feed(batch.id)

    record = await acme.get(batch.id)
    assert (record.status, record.stopped_by) == (BatchState.CANCELLED, "key_unfit")
    assert (record.counts.cancelled, record.counts.skipped) == (4, 6)


async def test_a_batch_is_called_again_while_it_is_fed(redis_async: Redis, acme: Batches) -> None:
    """A call that comes in the middle of feeding is not lost with the one that is answered."""
    feeding = Feeding(redis_async, Terms())
    asked: list[str] = []

    async def feed(batch_id: str) -> Fed:
        asked.append(batch_id)
        if len(asked) == 1:
            feeding.call([batch_id.encode()])
        return Fed()

    feeding._feeder.feed = feed  # type: ignore[method-assign]
    feeding.call([b"bat_x"])
    for _ in range(3):
        await feeding.turn()

    assert asked == ["bat_x", "bat_x"]


async def test_one_batch_that_cannot_be_read_does_not_stop_the_others(
    redis_async: Redis, acme: Batches
) -> None:
    """What is wrong with one is logged, and all others are fed."""
    bad, good = await acme.make(2), await acme.make(2)
    await redis_async.hset(keys.batch(bad.id), "request", "{")
    feeding = Feeding(redis_async, Terms())
    feeding.call([bad.id.encode(), good.id.encode()])

    await feeding.turn()

    assert (await acme.get(good.id)).counts.in_flight == 2


async def test_a_full_redis_takes_no_items_and_feeds_none(
    redis_async: Redis, acme: Batches
) -> None:
    """Nothing is half there; with room again the same request and the same feeding go on."""
    batch = await acme.make(10)
    begun = await acme.store.begin("acme", BatchRequest(NO_OP), by=acme.giver)
    upload = Upload(acme.store, begun)
    await upload.add(Item(b"1"))
    await redis_async.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable, match="takes no writes"):
            await upload.flush()
        with pytest.raises(OutOfMemoryError):
            await acme.feeder.feed(batch.id)
    finally:
        await redis_async.config_set("maxmemory", 0)

    assert (await acme.get(begun.record.id)).counts.received == 0
    assert (await acme.get(batch.id)).counts.in_flight == 0
    await upload.flush()
    assert (await acme.get(begun.record.id)).counts.received == 1
    assert (await acme.feeder.feed(batch.id)).count == 10


async def test_a_batch_that_ends_while_it_is_looked_at_is_no_fault(
    acme: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its items go with it: whoever looked before that finds none, and is done with it."""
    batch = await acme.make(10)
    asked = KeyStore.get

    async def then_cancel(store: KeyStore, owner: str, key_id: str) -> KeyRecord:
        await acme.store.cancel("acme", batch.id)
        return await asked(store, owner, key_id)

    monkeypatch.setattr(KeyStore, "get", then_cancel)
    assert await acme.feeder.feed(batch.id) == Fed(again_s=0.0)
    assert await acme.feeder.feed(batch.id) == Fed()
    assert (await acme.get(batch.id)).counts.skipped == 10


async def test_a_batch_calls_when_an_eighth_of_its_places_is_free(
    acme: Batches, redis_async: Redis
) -> None:
    """Not at each end, and at each one where there are few places."""
    batch = await acme.make(200, concurrency=64)
    await acme.feeder.feed(batch.id)
    await redis_async.delete(keys.BATCH_WAKE)
    ids = await acme.runs(batch.id)

    await end(redis_async, "acme", ids[:7])
    assert await redis_async.llen(keys.BATCH_WAKE) == 0
    await end(redis_async, "acme", ids[7:20])

    assert await redis_async.lrange(keys.BATCH_WAKE, 0, -1) == [batch.id.encode()]
