"""Each item's end is counted once, with its reason; the last, or too many failures, end a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from core import keys
from runs.batches.model import BatchState, Item
from runs.endings import state_of
from sandbox.outcome import Reason
from tests.batches import Batches
from tests.run_ends import end, end_as, fail

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.fixture
async def acme(redis_async: Redis) -> Batches:
    """A tenant that makes batches."""
    return await Batches.of(redis_async)


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
    for key in (keys.batch(batch.id), keys.batch_names(batch.id), keys.batch_ends(batch.id)):
        assert await redis_async.ttl(key) > 0
    gone = keys.batch_items(batch.id), keys.batch_scripts(batch.id), keys.batch_ids(batch.id)
    assert await redis_async.exists(*gone) == 0
    assert await redis_async.zcard(keys.open_batches("acme")) == 0
    assert await redis_async.zcard(keys.BATCH_DUE) == 0


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


async def test_a_batch_stops_after_so_many_failures(acme: Batches, redis_async: Redis) -> None:
    """Nothing more is fed, what is queued is cancelled, and what runs ends as it does."""
    batch = await acme.make(20, concurrency=6, stop_after=2)
    await acme.feeder.feed(batch.id)
    ids = await acme.runs(batch.id)
    await redis_async.hset(keys.run(ids[5]), "state", "running")

    await fail(redis_async, ids[:1])
    assert (await acme.get(batch.id)).status is BatchState.RUNNING
    await fail(redis_async, ids[1:2], "wall_limit")
    await acme.feeder.feed(batch.id)

    record = await acme.get(batch.id)
    assert (record.status, record.stopped_by) == (BatchState.STOPPING, "failures")
    assert (record.counts.failed, record.counts.cancelled, record.counts.in_flight) == (2, 3, 1)
    await end_as(redis_async, ids[5], "ok")
    record = await acme.get(batch.id)
    assert (record.status, record.counts.skipped) == (BatchState.STOPPED, 14)
    assert record.reasons == {"cancelled": 3, "ok": 1, "script_error": 1, "wall_limit": 1}


async def test_every_reason_has_its_byte(acme: Batches, redis_async: Redis) -> None:
    """What Redis keeps of an end is read as the reason that it was, also without the record."""
    batch = await acme.make(len(Reason), concurrency=100)
    await acme.feeder.feed(batch.id)
    ids = await acme.runs(batch.id)

    for run_id, reason in zip(ids, Reason, strict=True):
        await end_as(redis_async, run_id, reason)
        await redis_async.delete(keys.run(run_id))

    rows = await acme.results(batch.id)
    assert [row["reason"] for row in rows] == list(Reason)
    assert [row["status"] for row in rows] == [state_of(reason) for reason in Reason]
    assert {row["kept"] for row in rows} == {False}
    record = await acme.get(batch.id)
    assert record.status is BatchState.COMPLETED
    assert record.reasons == dict.fromkeys(Reason, 1)


async def test_a_run_that_ends_again_is_counted_once(acme: Batches, redis_async: Redis) -> None:
    """One that was put back into its queue after our own fault takes its first end back."""
    batch = await acme.make(2)
    await acme.feeder.feed(batch.id)
    ids = await acme.runs(batch.id)

    await end_as(redis_async, ids[0], "internal")
    await end_as(redis_async, ids[0], "ok")

    record = await acme.get(batch.id)
    assert (record.counts.in_flight, record.reasons) == (1, {"ok": 1})
    assert record.status is BatchState.RUNNING


async def test_runs_that_are_gone_do_not_keep_their_batch_from_ending(
    acme: Batches, redis_async: Redis
) -> None:
    """Somebody deleted them: their items count as expired once the batch has stood still."""
    batch = await acme.make(3)
    await acme.feeder.feed(batch.id)
    ids = await acme.runs(batch.id)
    await end_as(redis_async, ids[0], "ok")
    for one in ids[1:]:
        await redis_async.delete(keys.run(one))

    await acme.feeder.find_lost([batch.id], 0.0)
    assert (await acme.get(batch.id)).status is BatchState.RUNNING
    await acme.feeder.find_lost([batch.id], 0.0)

    record = await acme.get(batch.id)
    assert record.status is BatchState.COMPLETED
    assert record.reasons == {"ok": 1, "expired": 2}


async def test_the_end_of_a_batch_is_told_to_who_wants_to_know(
    acme: Batches, redis_async: Redis
) -> None:
    """One callback for the batch, written down in the step that ends it; none for its runs."""
    batch = await acme.make(2, callback="clb_" + "0" * 26)
    await acme.feeder.feed(batch.id)
    ids = await acme.runs(batch.id)

    await end(redis_async, "acme", ids)

    told: Any = await redis_async.hgetall(keys.delivery(keys.delivery_of(batch.id)))
    assert (told[b"kind"], told[b"subject"]) == (b"batch.finished", batch.id.encode())
    assert told[b"outcome"] == b"completed"
    assert await redis_async.exists(*(keys.delivery(keys.delivery_of(one)) for one in ids)) == 0
