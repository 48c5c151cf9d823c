"""Cycles and events, step by step: what is begun is submitted once, whoever died in between."""

from __future__ import annotations

from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from core import keys
from core.clock import now_ms
from core.ids import new_id
from runs.acceptance import Terms
from runs.model import RunRecord, RunRequest, State
from runs.store import RunStore
from scheduler.syncing import Syncing
from tenancy.keys import KeyStore
from tests.mux_mixpeek import BUCKET, SECRET, TRIGGER_KEYS
from triggers.mux_mixpeek.connector import Connector, connector_of
from triggers.mux_mixpeek.model import (
    Connection,
    ConnectionChange,
    ConnectionConfig,
    Status,
    Sync,
    SyncConfig,
)
from triggers.starting import Owner
from triggers.trigger_keys import TriggerKeys

TENANT = "acme"
GIVEN = {
    "name": "Mux",
    "provider_type": "mux",
    "provider_config": {
        "credentials": {"type": "account", "account": "default", "webhook_secret": SECRET}
    },
}


class Rig:
    """A connector without processes; runs end as the tests say."""

    def __init__(self, client: redis.asyncio.Redis, owner: Owner, terms: Terms) -> None:
        self.redis: Any = client
        self.owner = owner
        self.store = RunStore(client, terms)
        made = connector_of(client, self.store, TriggerKeys.parse(TRIGGER_KEYS))
        self.connector: Connector = made

    async def connection(self) -> Connection:
        """Keep a connection."""
        made = self.connector.connections.new(TENANT, ConnectionConfig.model_validate(GIVEN))
        await self.connector.connections.add(made, by=self.owner.key_id)
        return made

    async def sync(self, connection: Connection, **more: Any) -> Sync:
        """Keep a sync."""
        config = SyncConfig.model_validate({"connection_id": connection.id, **more})
        return await self.connector.syncs.add(TENANT, BUCKET, config, by=self.owner)

    async def now(self, sync: Sync) -> Sync:
        """Give a sync as it is now."""
        found = await self.connector.syncs.find(sync.id)
        assert found is not None
        return found

    async def runs(self) -> list[RunRecord]:
        """Give all runs, newest first."""
        return (await self.store.page(TENANT))[0]

    async def end(self, run_id: str | None, result: bytes | None = None) -> None:
        """Let a run end: with a result it succeeded, else it was cancelled."""
        assert run_id is not None
        await self.store.cancel(TENANT, run_id)
        if result is not None:
            fields = {"state": "succeeded", "reason": "ok", "result": result}
            await self.redis.hset(keys.run(run_id), mapping=fields)


@pytest.fixture
async def rig(redis_async: redis.asyncio.Redis) -> Rig:
    """A connector of one tenant with a key."""
    _, key = await KeyStore(redis_async).create(TENANT, "test")
    return Rig(redis_async, Owner(key.id, key.tenant), Terms())


async def test_a_cycle_begun_by_one_that_died_is_submitted_by_the_next(rig: Rig) -> None:
    """Its run's id was kept and nothing submitted: the same id is, once."""
    sync = await rig.sync(await rig.connection())
    kept = new_id("run")
    assert await rig.connector.syncs.begin(sync.id, kept) == kept
    assert await rig.runs() == []
    for _ in range(3):
        await rig.connector.cycles.look(sync.id)
    assert [one.id for one in await rig.runs()] == [kept]


async def test_a_cycle_submitted_by_one_that_died_is_not_submitted_again(rig: Rig) -> None:
    """It died after the run was accepted: who looks next finds the run."""
    sync = await rig.sync(await rig.connection())
    first = await rig.connector.cycles.begin(sync)
    again = await rig.connector.cycles.begin(await rig.now(sync))
    assert first == again
    assert [one.id for one in await rig.runs()] == [first]


async def test_an_end_is_taken_once(rig: Rig) -> None:
    """Two that saw the same end add it up once, and the next cycle is due in its time."""
    sync = await rig.sync(await rig.connection())
    await rig.connector.cycles.look(sync.id)
    begun = await rig.now(sync)
    await rig.end(begun.run, b'{"discovered":5,"synced":2,"failed":0,"unindexed":1}')
    await rig.connector.cycles.look(sync.id)
    counts, fields = {"synced": 2}, {"cycles": 9}
    assert begun.run is not None
    assert not await rig.connector.syncs.end(sync.id, begun.run, None, counts, fields)
    after = await rig.now(sync)
    assert (after.run, after.cycles, after.status) == (None, 1, Status.ACTIVE)
    assert after.counts == {"discovered": 5, "synced": 2, "failed": 0, "unindexed": 1}
    assert after.last_ms is not None
    assert after.due_ms == after.last_ms + 300_000


async def test_a_run_says_where_the_next_one_goes_on(rig: Rig) -> None:
    """Its `next` is the input of the following run, at once; the cycle counts when it is whole."""
    sync = await rig.sync(await rig.connection())
    await rig.connector.cycles.look(sync.id)
    await rig.end((await rig.now(sync)).run, b'{"synced":1,"next":{"phase":"assets","page":3}}')
    await rig.connector.cycles.look(sync.id)
    between = await rig.now(sync)
    assert (between.cycles, between.next) == (0, {"phase": "assets", "page": 3})
    assert sync.id in await rig.connector.syncs.take_due()
    await rig.connector.cycles.look(sync.id)
    run = (await rig.now(sync)).run or ""
    given: Any = await rig.redis.hget(keys.run(run), "input")
    assert b'"next":{"phase":"assets","page":3}' in given
    await rig.end(run, b'{"synced":1}')
    await rig.connector.cycles.look(sync.id)
    after = await rig.now(sync)
    assert (after.cycles, after.next, after.counts["synced"]) == (1, None, 2)


async def test_a_sync_of_once_is_given_up_after_five_failures(rig: Rig) -> None:
    """Each failure is tried again later than the one before; then it is FAILED and says why."""
    connection = await rig.connection()
    sync = await rig.sync(connection, sync_mode="initial_only")
    pauses = []
    for _ in range(5):
        await rig.connector.cycles.look(sync.id)
        await rig.end((await rig.now(sync)).run)
        before = now_ms()
        await rig.connector.cycles.look(sync.id)
        due = (await rig.now(sync)).due_ms
        pauses.append(None if due is None else round((due - before) / 300_000))
    after = await rig.now(sync)
    assert pauses == [1, 2, 4, 8, None]
    assert (after.status, after.failures) == (Status.FAILED, 5)
    assert after.last_error
    noted = await rig.connector.connections.get(TENANT, connection.id)
    assert noted.last_error == after.last_error


async def test_a_failure_counts_for_the_whole_cycle(rig: Rig) -> None:
    """A later run of the same cycle that goes well does not make it complete."""
    sync = await rig.sync(await rig.connection(), sync_mode="initial_only")
    failure = b'"failures":[{"asset_id":"a","message":"no"}]'
    await rig.connector.cycles.look(sync.id)
    await rig.end((await rig.now(sync)).run, b'{"failed":1,"next":{},' + failure + b"}")
    await rig.connector.cycles.look(sync.id)
    await rig.connector.cycles.look(sync.id)
    await rig.end((await rig.now(sync)).run, b'{"synced":1}')
    await rig.connector.cycles.look(sync.id)
    after = await rig.now(sync)
    assert (after.cycles, after.failures, after.last_error) == (1, 1, "asset a: no")
    assert after.status is Status.ACTIVE
    await rig.connector.cycles.look(sync.id)
    await rig.end((await rig.now(sync)).run, b'{"synced":1}')
    await rig.connector.cycles.look(sync.id)
    after = await rig.now(sync)
    assert (after.status, after.failures, after.last_error) == (Status.COMPLETED, 0, None)


async def test_a_used_up_quota_is_no_failure(rig: Rig) -> None:
    """The cycle waits as long as the quota says, as often as it has to."""
    rig = Rig(rig.redis, rig.owner, Terms(queue_max=1))
    sync = await rig.sync(await rig.connection(), sync_mode="initial_only")
    other = await rig.store.submit(TENANT, RunRequest(script="return 1"), key_id=rig.owner.key_id)
    for _ in range(6):
        await rig.connector.cycles.look(sync.id)
    after = await rig.now(sync)
    assert (after.run, after.failures, after.status) == (None, 0, Status.ACTIVE)
    assert after.last_error
    await rig.end(other.id)
    await rig.connector.cycles.look(sync.id)
    assert (await rig.now(sync)).run


async def test_what_a_script_returns_is_not_believed_blindly(rig: Rig) -> None:
    """A result of another shape counts nothing, and breaks nobody."""
    sync = await rig.sync(await rig.connection())
    for result in (b"[]", b'"x"', b'{"synced":"7","failed":true,"failures":5}', b"null"):
        await rig.connector.cycles.look(sync.id)
        await rig.end((await rig.now(sync)).run, result)
        await rig.connector.cycles.look(sync.id)
    assert set((await rig.now(sync)).counts.values()) == {0}


async def test_a_revoked_key_ends_the_cycles_and_says_so(rig: Rig) -> None:
    """Runs of a sync have the key that made it, and no other in its place."""
    sync = await rig.sync(await rig.connection())
    await KeyStore(rig.redis).revoke(TENANT, rig.owner.key_id)
    await rig.connector.cycles.look(sync.id)
    after = await rig.now(sync)
    assert (after.run, after.failures) == (None, 1)
    assert "was revoked" in (after.last_error or "")
    assert await rig.runs() == []


async def test_a_broken_record_holds_up_nobody_else(rig: Rig) -> None:
    """What of a sync or an event cannot be read is logged; what is due beside it is done."""
    connection = await rig.connection()
    syncs = sorted([(await rig.sync(connection, source_path=f"mux://{n}")).id for n in range(2)])
    await rig.redis.hset(keys.sync(syncs[0]), "config", "{}")
    await rig.redis.zadd(keys.MUX_JOBS, {"evt_broken": 0})
    await rig.redis.hset(keys.mux_job("evt_broken"), "tenant", TENANT)
    parts = rig.connector
    with capture_logs() as logged:
        await Syncing(parts.syncs, parts.cycles, parts.jobs).turn()
    assert [one.origin and one.origin.id for one in await rig.runs()] == [syncs[1]]
    broken = [(one["event"], one["what"], one["log_level"]) for one in logged]
    assert broken == [("sync_broken", one, "error") for one in ("evt_broken", syncs[0])]


async def test_an_event_kept_by_one_that_died_is_done(rig: Rig) -> None:
    """Kept and not submitted: who looks next submits its run, once."""
    connection = await rig.connection()
    await rig.sync(connection)
    jobs = rig.connector.jobs
    job, new = await jobs.take(connection, "deleted", "abc", "evt_1")
    assert new
    run = keys.run(job.run)
    await rig.redis.delete(run, keys.tape(job.run), keys.tenant_runs(TENANT))
    for _ in range(2):
        await jobs.look(job.id)
    assert [one.id for one in await rig.runs()] == [job.run]
    same, again = await jobs.take(connection, "deleted", "abc", "evt_1")
    assert (same.id, again) == (job.id, False)
    assert len(await rig.runs()) == 1


async def test_a_failed_event_is_tried_for_a_day(rig: Rig) -> None:
    """Each time with another run, later than before; then it is let go. Its owner is told why."""
    connection = await rig.connection()
    await rig.sync(connection)
    jobs = rig.connector.jobs
    job, _ = await jobs.take(connection, "deleted", "abc", "evt_1")
    await rig.end(job.run)
    await jobs.look(job.id)
    second = await jobs.get(job.id)
    assert second is not None
    assert (second.tries, second.run == job.run) == (1, False)
    told = await rig.connector.connections.get(TENANT, connection.id)
    assert (told.last_error or "").startswith("deleted asset abc: ")
    await jobs.look(job.id)
    await rig.end(second.run, b'{"deleted_objects":2}')
    await jobs.look(job.id)
    done = await jobs.get(job.id)
    assert done is not None
    assert (done.done, done.deleted) == (True, 2)
    old, _ = await jobs.take(connection, "deleted", "abd", "evt_2")
    await rig.end(old.run)
    await rig.redis.hset(keys.mux_job(old.id), "created_ms", 0)
    await jobs.look(old.id)
    given_up = await jobs.get(old.id)
    assert given_up is not None
    assert given_up.done
    assert await jobs.next_due_ms() is None


async def test_an_event_that_fails_is_tried_with_each_key_in_turn(rig: Rig) -> None:
    """What the key of one sync may not do that of another may: nobody's key holds up an event."""
    connection = await rig.connection()
    _, second = await KeyStore(rig.redis).create(TENANT, "second")
    config = SyncConfig.model_validate({"connection_id": connection.id})
    for owner in (rig.owner, Owner(second.id, second.tenant)):
        await rig.connector.syncs.add(TENANT, BUCKET, config, by=owner)
    jobs = rig.connector.jobs
    job, _ = await jobs.take(connection, "deleted", "abc", "evt_1")
    for _ in range(2):
        found = await jobs.get(job.id)
        assert found is not None
        await rig.end(found.run)
        await jobs.look(job.id)
        await jobs.look(job.id)
    used = [await rig.redis.hget(keys.run(one.id), "key_id") for one in await rig.runs()]
    assert len(used) == 3
    assert used[0] == used[2] != used[1]


async def test_events_of_a_suspended_connection_wait(rig: Rig) -> None:
    """Its cycles do nothing, and its events delete nothing, until it is switched on again."""
    connection = await rig.connection()
    await rig.sync(connection)
    connections, jobs = rig.connector.connections, rig.connector.jobs
    off = await connections.change(
        TENANT, connection.id, ConnectionChange(is_active=False), by=rig.owner.key_id
    )
    job, _ = await jobs.take(off, "deleted", "abc", "evt_1")
    await jobs.look(job.id)
    assert await rig.runs() == []
    told = await connections.get(TENANT, connection.id)
    assert told.last_error == "deleted asset abc: the connection is suspended"
    on = ConnectionChange(is_active=True)
    await connections.change(TENANT, connection.id, on, by=rig.owner.key_id)
    await jobs.look(job.id)
    assert len(await rig.runs()) == 1


async def test_a_deletion_under_a_cycle_looks_again_when_it_is_over(rig: Rig) -> None:
    """The cycle that was under way when the event came, and no later one, is waited for."""
    connection = await rig.connection()
    sync = await rig.sync(connection)
    await rig.connector.cycles.look(sync.id)
    jobs = rig.connector.jobs
    job, _ = await jobs.take(connection, "deleted", "abc", "evt_1")
    await rig.end(job.run, b'{"deleted_objects":0}')
    await jobs.look(job.id)
    waiting = await jobs.get(job.id)
    assert waiting is not None
    assert (waiting.done, waiting.run) == (False, job.run)
    await rig.end((await rig.now(sync)).run, b'{"synced":1}')
    await rig.connector.cycles.look(sync.id)
    await rig.connector.cycles.begin(await rig.now(sync))
    await jobs.look(job.id)
    second = await jobs.get(job.id)
    assert second is not None
    assert second.run != job.run
    await jobs.look(job.id)
    await rig.end(second.run, b'{"deleted_objects":1}')
    await jobs.look(job.id)
    done = await jobs.get(job.id)
    assert done is not None
    assert (done.done, done.deleted) == (True, 1)
    records = [await rig.store.get(TENANT, one) for one in (job.run, second.run)]
    assert {one.status for one in records} == {State.SUCCEEDED}
