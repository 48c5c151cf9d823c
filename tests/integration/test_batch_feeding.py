"""Feeding batches: in order, none twice, none left out, never more than may be on their way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from core import keys
from runs.batches.model import BatchState, Item
from runs.model import RunRequest
from runs.store import RunStore
from tests.batches import Batches

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.fixture
async def acme(redis_async: Redis) -> Batches:
    """A tenant that makes batches."""
    return await Batches.of(redis_async)


async def end(redis: Redis, tenant: str, ids: list[str]) -> None:
    """End queued runs."""
    for one in ids:
        await RunStore(redis).cancel(tenant, one)


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


async def test_a_batch_is_completed_when_its_last_run_has_ended(
    acme: Batches, redis_async: Redis
) -> None:
    """The last end ends the batch, in the same step; it then expires."""
    batch = await acme.make(3)
    await acme.feeder.feed(batch.id)

    await end(redis_async, "acme", await acme.runs(batch.id))

    record = await acme.get(batch.id)
    assert record.status is BatchState.COMPLETED
    assert record.ended_ms is not None
    assert record.reasons == {"cancelled": 3}
    for key in (keys.batch(batch.id), keys.batch_items(batch.id), keys.batch_ends(batch.id)):
        assert await redis_async.ttl(key) > 0
    assert await redis_async.exists(keys.batch_scripts(batch.id)) == 0
    assert await redis_async.zcard(keys.open_batches("acme")) == 0
    assert await redis_async.zcard(keys.BATCH_DUE) == 0


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


async def test_results_tell_of_every_item_while_it_runs(acme: Batches) -> None:
    """Those that were not started are pending, those on their way have a run and no reason."""
    batch = await acme.make([Item(b"1", id="a"), Item(b"2", id="b")], concurrency=1)
    await acme.feeder.feed(batch.id)

    (run_id,) = await acme.runs(batch.id)
    assert await acme.results(batch.id) == [
        {"index": 0, "id": "a", "run": run_id, "status": "queued"},
        {"index": 1, "id": "b", "run": None, "status": "pending"},
    ]
    assert len(await acme.results(batch.id, 1)) == 1
