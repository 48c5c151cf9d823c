"""The store of runs, on a real Redis and on fakeredis: both give the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import redis.asyncio

from core import keys
from core.errors import Invalid, NotFound, QuotaExceeded, Unavailable
from core.ids import new_id
from runs.acceptance import Terms
from runs.model import RunRequest, State
from runs.store import RunStore
from sandbox.outcome import Reason
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet
from tests.redis_backends import BACKENDS, opened

REQUEST = RunRequest(script="return 1", input={"a": [1, None]}, seed=7, grants=["mux:read"])


@pytest.fixture(params=BACKENDS)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[redis.asyncio.Redis]:
    """An empty Redis."""
    async with opened(request.param, request) as made:
        yield made


@pytest.fixture
def store(client: redis.asyncio.Redis) -> RunStore:
    """A store that takes three queued runs a tenant."""
    return RunStore(client, Terms(queue_max=3))


async def test_what_was_submitted_is_what_is_shown(store: RunStore) -> None:
    """The record that submit gives is the record that get gives."""
    record = await store.submit("acme", REQUEST, key_id="key_1")

    assert record == await store.get("acme", record.id)
    assert record.status is State.QUEUED
    assert (record.seed, record.grants, record.attempt) == (7, ["mux:read"], 0)


async def test_everything_of_a_run_is_there_at_once(
    store: RunStore, client: redis.asyncio.Redis
) -> None:
    """Record, script, tape, events, job, queue, ring and index: no audit entry, no run."""
    record = await store.submit("acme", REQUEST, key_id="key_1")

    for key in (
        keys.run(record.id),
        keys.tape(record.id),
        keys.events(record.id),
        keys.script(record.script_sha256),
        keys.tenant_runs("acme"),
        f"rq:job:{record.id}",
    ):
        assert await client.ttl(key) > 0, key
    assert await client.lrange("rq:queue:t.acme.normal", 0, -1) == [record.id.encode()]
    assert await client.zscore(keys.RING, "acme") is not None
    assert await client.smembers("rq:queues") == {b"rq:queue:t.acme.normal"}


async def test_a_run_is_accepted_and_ended_with_the_ledgers_knowledge_or_not_at_all(
    store: RunStore, client: redis.asyncio.Redis
) -> None:
    """The inbox gets an exact leaf with the enqueue and a word with the end; the tape waits."""
    record = await store.submit("acme", REQUEST, key_id="key_1")
    await store.submit("acme", REQUEST, key_id="key_1", run_id=record.id)
    await store.cancel("acme", record.id)

    rows: Any = await client.xrange(keys.LEDGER_INBOX)
    (_, accepted), (_, finished) = rows
    leaf = orjson.loads(accepted[b"leaf"])
    assert (leaf["v"], leaf["kind"], leaf["id"]) == (1, "run.accepted", record.id)
    assert (leaf["tenant"], leaf["key"]) == ("acme", "key_1")
    assert leaf["script_sha256"] == record.script_sha256
    assert (finished[b"kind"], finished[b"run"]) == (b"run.finished", record.id.encode())
    assert (finished[b"tenant"], finished[b"seq"]) == (b"acme", b"2")
    assert await client.ttl(keys.tape(record.id)) == -1


async def test_no_run_is_accepted_that_the_ledger_cannot_take(
    client: redis.asyncio.Redis,
) -> None:
    """A sequencer that is too far behind stops new runs; what was accepted may still end."""
    store = RunStore(client, Terms(inbox_max=2))
    record = await store.submit("acme", REQUEST, key_id="k")
    await store.cancel("acme", record.id)

    with pytest.raises(Unavailable, match="2 entries wait for the ledger's sequencer") as refused:
        await store.submit("acme", REQUEST, key_id="k")

    assert "nothing was accepted" in refused.value.detail
    assert len((await store.page("acme"))[0]) == 1
    await client.delete(keys.LEDGER_INBOX)
    await store.submit("acme", REQUEST, key_id="k")


async def test_a_run_has_the_grants_that_are_kept_when_it_is_accepted(
    store: RunStore, client: redis.asyncio.Redis
) -> None:
    """What a store remembers of grants is never what a run gets: another process changed them."""
    grants, plain = GrantStore(client), RunRequest(script="return 1")
    assert (await store.submit("acme", plain, key_id="key_1")).ceiling is None

    await grants.set("acme", None, GrantSet.parse(["mux:read"]), by="cli")
    await grants.set("acme", "key_1", GrantSet.parse(["mux"]), by="cli")
    record = await store.submit("acme", plain, key_id="key_1")
    assert record.ceiling == {"tenant": ["mux:read"], "key": ["mux"]}
    assert (await store.get("acme", record.id)).ceiling == record.ceiling

    await grants.remove("acme", None, by="cli")
    record = await store.submit("acme", plain, key_id="key_1")
    assert record.ceiling == {"key": ["mux"]}


async def test_the_same_id_again_gives_the_same_run(
    store: RunStore, client: redis.asyncio.Redis
) -> None:
    """Submitting is idempotent by id: whatever comes second changes nothing."""
    run_id = new_id("run")
    first = await store.submit("acme", REQUEST, key_id="k", run_id=run_id)

    second = await store.submit("acme", RunRequest(script="return 2"), key_id="k", run_id=run_id)

    assert second == first
    assert await client.llen("rq:queue:t.acme.normal") == 1


async def test_another_tenants_run_is_no_run(store: RunStore) -> None:
    """Not found is all that a tenant learns of another's runs, by whatever it asks."""
    record = await store.submit("acme", REQUEST, key_id="k")
    unknown = new_id("run")

    for run_id in (record.id, unknown, "run_" + "U" * 26, "../../etc", ""):
        with pytest.raises(NotFound, match="no such run"):
            await store.get("other", run_id)
        with pytest.raises(NotFound, match="no such run"):
            await store.cancel("other", run_id)
        with pytest.raises(NotFound, match="no such run"):
            await anext(store.events("other", run_id))
    assert await store.page("other") == ([], None)
    with pytest.raises(NotFound):
        await store.submit("other", REQUEST, key_id="k", run_id=record.id)


async def test_a_full_queue_refuses_and_says_when_to_come_back(store: RunStore) -> None:
    """The cap is a tenant's own: others are not touched by it."""
    for _ in range(3):
        await store.submit("acme", REQUEST, key_id="k")

    with pytest.raises(QuotaExceeded, match="3 runs are queued or wait already") as refused:
        await store.submit("acme", REQUEST, key_id="k")

    assert refused.value.retry_after_s > 0
    await store.submit("other", REQUEST, key_id="k")


async def test_a_cancelled_run_makes_room_and_tells_its_story(
    store: RunStore, client: redis.asyncio.Redis
) -> None:
    """Cancelling a queued run ends it everywhere; cancelling it again changes nothing."""
    record = await store.submit("acme", REQUEST, key_id="k")

    cancelled = await store.cancel("acme", record.id)

    assert (cancelled.status, cancelled.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert await store.cancel("acme", record.id) == cancelled
    assert await client.llen("rq:queue:t.acme.normal") == 0
    assert await client.hget(f"rq:job:{record.id}", "status") == b"canceled"
    assert [event.data["state"] async for event in store.events("acme", record.id)] == [
        "queued",
        "cancelled",
    ]
    assert await client.xlen(keys.tape(record.id)) == 2
    assert await client.xlen(keys.DONE) == 1


async def test_pages_go_from_the_newest_to_the_oldest(client: redis.asyncio.Redis) -> None:
    """Every run is on exactly one page, also while new ones come in."""
    store = RunStore(client)
    ids = [(await store.submit("acme", REQUEST, key_id="k")).id for _ in range(7)]

    first, cursor = await store.page("acme", limit=3)
    await store.submit("acme", REQUEST, key_id="k")
    second, cursor = await store.page("acme", limit=3, cursor=cursor)
    third, end = await store.page("acme", limit=3, cursor=cursor)

    listed = [record.id for record in [*first, *second, *third]]
    assert sorted(listed) == sorted(ids)
    assert [record.created_ms for record in first] >= [record.created_ms for record in second]
    assert end is None


async def test_no_run_is_on_two_pages_while_others_are_accepted(
    client: redis.asyncio.Redis,
) -> None:
    """A list that is read while runs come in shows each run that was there exactly once."""
    store = RunStore(client)
    ids = {(await store.submit("acme", REQUEST, key_id="k")).id for _ in range(40)}

    async def accept() -> None:
        for _ in range(80):
            await store.submit("acme", REQUEST, key_id="k")

    async def read() -> list[str]:
        page, cursor = await store.page("acme", limit=1)
        listed = [page[0].id]
        while cursor is not None:
            page, cursor = await store.page("acme", limit=1, cursor=cursor)
            listed += [record.id for record in page]
        return listed

    lists, _ = await asyncio.gather(asyncio.gather(*(read() for _ in range(4))), accept())

    assert all(len(listed) == len(set(listed)) for listed in lists)
    assert all(ids <= set(listed) for listed in lists)


async def test_a_page_of_one_state_holds_no_other(client: redis.asyncio.Redis) -> None:
    """The filter looks at the state as it is now."""
    store = RunStore(client)
    ids = [(await store.submit("acme", REQUEST, key_id="k")).id for _ in range(4)]
    await store.cancel("acme", ids[1])

    page, end = await store.page("acme", state=State.CANCELLED)

    assert ([record.id for record in page], end) == ([ids[1]], None)


@pytest.mark.parametrize("limit", [0, 201, -1])
async def test_a_page_size_out_of_range_is_refused(store: RunStore, limit: int) -> None:
    """A page is bounded."""
    with pytest.raises(Invalid, match=f"limit must be 1 to 200, not {limit}"):
        await store.page("acme", limit=limit)


async def test_what_is_no_cursor_or_event_id_is_refused(store: RunStore) -> None:
    """Nothing of a client's goes into a Redis command unchecked."""
    record = await store.submit("acme", REQUEST, key_id="k")

    with pytest.raises(Invalid, match="not a cursor of this list"):
        await store.page("acme", cursor="0")
    with pytest.raises(Invalid, match="not an event id"):
        await anext(store.events("acme", record.id, after="$"))


async def test_a_tenant_name_that_is_none_is_refused(store: RunStore) -> None:
    """A tenant becomes part of keys: it must look like one."""
    with pytest.raises(Invalid, match="is not a tenant name"):
        await store.submit("acme:x", REQUEST, key_id="k")
