"""What is kept of batches counts as stored, expires when left alone, and is erased whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
import redis

from core import keys
from core.errors import QuotaExceeded
from runs.batches.model import UPLOAD_TTL_S, BatchRequest, BatchState, Item
from runs.batches.upload import Upload
from runs.erasing import forget_batches, forget_runs
from tenancy.terms import TermsStore
from tests.batches import NO_OP, Batches
from tests.run_ends import end

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.fixture
async def acme(redis_async: Redis) -> Batches:
    """A tenant that makes batches."""
    return await Batches.of(redis_async)


async def test_an_upload_that_nobody_goes_on_with_expires(
    redis_async: Redis, acme: Batches
) -> None:
    """All that is kept of it has a time to live, and it counts no more once it is gone."""
    begun = await acme.store.begin("acme", BatchRequest(NO_OP), by=acme.giver)
    upload = Upload(acme.store, begun)
    await upload.add(Item(b"1", id="a"))
    await upload.flush()

    names: Any = await redis_async.keys(f"ms:batch:{begun.record.id}*")
    assert len(names) == 5
    for name in names:
        assert 0 < await redis_async.ttl(name) <= UPLOAD_TTL_S
        await redis_async.delete(name)
    await acme.make(1)
    assert await redis_async.zcard(keys.open_batches("acme")) == 1


async def test_items_count_in_what_a_tenant_may_store(acme: Batches, redis_async: Redis) -> None:
    """Batches are no way around the quota of stored bytes: it is told what is used."""
    await TermsStore(redis_async).set("acme", None, {"stored_bytes": 5_000}, by="test")

    with pytest.raises(QuotaExceeded) as refused:
        await acme.make([Item(orjson.dumps("x" * 6_000))])

    assert (refused.value.quota, refused.value.allowed) == ("stored_bytes", 5_000)


async def test_of_an_erased_item_nothing_is_left(
    acme: Batches, redis_async: Redis, redis_sync: redis.Redis
) -> None:
    """Its input went with the end of the batch, its own id goes with its run."""
    items = [Item(b'"secret-%d"' % n, id=f"name-{n}") for n in range(450)]
    batch = await acme.make(items, concurrency=500)
    while (await acme.feeder.feed(batch.id)).count:
        pass
    ids = await acme.runs(batch.id)
    await end(redis_async, "acme", ids)

    forget_runs(redis_sync, {ids[3]: "acme", ids[449]: "acme"})

    assert await redis_async.exists(keys.batch_items(batch.id)) == 0
    rows = await acme.results(batch.id)
    assert [row["index"] for row in rows if row["id"] is None] == [3, 449]
    assert (rows[3]["status"], rows[3]["kept"]) == ("cancelled", False)
    assert [row["id"] for row in rows[447:]] == ["name-447", "name-448", None]


async def test_a_tenants_ended_batches_are_erased_whole(
    acme: Batches, redis_async: Redis, redis_sync: redis.Redis
) -> None:
    """What has not ended is counted, so that it is erased again then."""
    ended, going = await acme.make(2), await acme.make(2)
    await acme.feeder.feed(ended.id)
    await end(redis_async, "acme", await acme.runs(ended.id))

    assert forget_batches(redis_sync, "acme") == 1

    assert await redis_async.keys(f"ms:batch:{ended.id}*") == []
    assert (await acme.get(going.id)).status is BatchState.RUNNING
