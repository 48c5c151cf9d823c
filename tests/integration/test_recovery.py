"""A child, a worker or Redis dies: the right reason, and nothing else is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio
from rq.job import Job

from core import keys
from core.redis_client import connect_async
from core.redis_server import PrivateRedis
from runs.model import State
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.command import is_running
from tests.deadline import Deadline
from tests.integration.run_watching import (
    CALLING,
    ENDLESS,
    LOST_S,
    SHORT,
    TENANT,
    ended,
    in_state,
    nothing_held,
    picture,
    submit,
    take_and_vanish,
    tape,
)
from tests.silent_vendor import SilentVendor
from tests.worker_processes import cpu_ticks, running_worker


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[SilentVendor]:
    """A vendor that never answers."""
    with SilentVendor(tmp_path, TENANT) as silent:
        yield silent


# --- a process dies ----------------------------------------------------------------------------


async def test_a_killed_child_ends_its_run_as_crashed_and_no_other(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A child killed by signal 9: its run says so at once, the worker goes on."""
    with running_worker(redis_url) as worker:
        run_id = await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)
        child = Deadline().until(  # no spare one ever uses half a second
            lambda: next((one for one in worker.children_of_zygote() if cpu_ticks(one) > 50), None),
            "a child at work",
        )

        assert child is not None
        os.kill(child, signal.SIGKILL)

        record = await ended(store, run_id)
        assert (record.status, record.reason, record.attempt) == (State.FAILED, Reason.CRASHED, 1)
        assert Job.fetch(run_id, connection=redis_sync, serializer="json").is_finished
        assert (await ended(store, await submit(store))).reason is Reason.OK


async def test_a_run_that_may_not_be_lost_again_ends_and_its_children_are_gone(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """At the last attempt a killed worker's run ends as lost; nothing lives on or is held."""
    with running_worker(redis_url, slots=1, attempts=1) as doomed:
        run_id = await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)
        queued = await submit(store)
        children = doomed.descendants()
        doomed.kill()
        with running_worker(redis_url, attempts=1):
            record = await ended(store, run_id, seconds=LOST_S)
            other = await ended(store, queued)

    assert (record.status, record.reason) == (State.FAILED, Reason.WORKER_LOST)
    assert record.error is not None
    assert record.error.message == (
        "the worker that executed this run was lost; no external call had been made"
    )
    assert other.reason is Reason.OK
    assert tape(redis_sync, run_id) == ["accepted", "started", "finished"]
    assert Job.fetch(run_id, connection=redis_sync, serializer="json").is_failed
    assert nothing_held(redis_sync)
    Deadline().until(lambda: not any(map(is_running, children)), "the death of its children")


async def test_an_ended_lost_run_may_be_requeued(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """`rq requeue` after our fault executes the run again, as a new attempt on the same tape."""
    run_id = await submit(store)
    take_and_vanish(redis_sync)
    with running_worker(redis_url, attempts=1):
        assert (await ended(store, run_id, seconds=LOST_S)).reason is Reason.WORKER_LOST

        Job.fetch(run_id, connection=redis_sync, serializer="json").requeue()

        record = await in_state(store, run_id, State.SUCCEEDED)
    assert (record.attempt, record.result, record.error) == (2, 1, None)
    assert tape(redis_sync, run_id) == ["accepted", *2 * ["started", "finished"]]
    events = [event async for event in store.events(TENANT, run_id)]
    assert events[-1].data["state"] == "succeeded"


async def test_a_write_in_flight_when_the_worker_died_is_not_sent_again(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, vendor: SilentVendor
) -> None:
    """Without a key of the vendor's nobody knows what it did: the run ends and names the call."""
    with running_worker(redis_url, accounts=vendor.accounts) as doomed:
        run_id = await submit(store, CALLING)
        Deadline().until(vendor.asked.is_set, "the request")
        doomed.kill()
    vendor.asked.clear()
    with running_worker(redis_url, accounts=vendor.accounts):
        record = await ended(store, run_id, seconds=LOST_S)

    assert (record.reason, record.attempt) == (Reason.EFFECT_UNKNOWN, 2)
    assert record.error is not None
    assert record.error.message == (
        "mux.create_asset (call 1): the worker was lost after this call was begun;"
        " it may have been done"
    )
    assert [(call.name, call.effect) for call in record.calls] == [("mux.create_asset", "unknown")]
    assert tape(redis_sync, run_id) == [
        *("accepted", "started", "intent", "started", "effect", "finished")
    ]
    assert not vendor.asked.is_set()
    assert Job.fetch(run_id, connection=redis_sync, serializer="json").is_finished


async def test_a_cancel_that_the_worker_did_not_live_to_see_counts(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A run whose worker died after it was cancelled ends as cancelled."""
    run_id = await submit(store)
    take_and_vanish(redis_sync)
    await store.cancel(TENANT, run_id)

    with running_worker(redis_url):
        record = await ended(store, run_id, seconds=LOST_S)

    assert (record.status, record.reason) == (State.CANCELLED, Reason.CANCELLED)


async def test_a_frozen_worker_writes_nothing_after_its_lease(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A worker that wakes after others ended its run changes nothing, and works on."""
    with running_worker(redis_url, slots=1, attempts=1) as frozen:
        run_id = await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)
        frozen.signal(signal.SIGSTOP)
        with running_worker(redis_url, attempts=1) as other:
            record = await ended(store, run_id, seconds=LOST_S)
            other.stop()
        before = picture(redis_sync, run_id)

        frozen.signal(signal.SIGCONT)
        assert (await ended(store, await submit(store))).reason is Reason.OK

    assert record.reason is Reason.WORKER_LOST
    assert picture(redis_sync, run_id) == before
    assert await store.get(TENANT, run_id) == record


# --- Redis goes away -----------------------------------------------------------------------------


@pytest.mark.timeout(150)
async def test_results_outlive_an_outage_of_redis(tmp_path: Path) -> None:
    """A result that came while Redis was away is delivered when it is back, scripts unknown."""
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    busy = ENDLESS.model_copy(update={"script": "for i = 1, 4e7 do end return 7"})
    with running_worker(server.url, slots=1, lease_s=60) as worker:
        async with connect_async(server.url) as client:
            store = RunStore(client)
            run_id = await submit(store, busy)
            await in_state(store, run_id, State.RUNNING)
        server.stop()
        Deadline().until(
            lambda: not at_work(worker.descendants()), "the end of the script", seconds=40
        )
        server.start()
        async with connect_async(server.url) as client:
            store = RunStore(client)
            assert (await ended(store, run_id, seconds=60)).result == 7
            assert (await ended(store, await submit(store))).reason is Reason.OK
    server.stop()


async def test_turns_go_on_after_a_restart_of_redis(tmp_path: Path) -> None:
    """With backlogs of several tenants, a restart in the middle loses none and stops none."""
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    tenants = ("acme", "globex", "initech")

    async def all_ended(client: redis.asyncio.Redis) -> bool:
        counts = [await client.zcard(f"rq:finished:{keys.queue(one)}") for one in tenants]
        return counts == [25] * 3

    with running_worker(server.url, slots=2):
        async with connect_async(server.url) as client:
            for number in range(75):
                await submit(RunStore(client), SHORT, tenants[number % 3])
        server.stop()
        server.start()
        async with connect_async(server.url) as client:
            await Deadline().reached(lambda: all_ended(client), "the end of all", seconds=60)
            assert await client.zcard(keys.RING) == 0
    server.stop()


async def test_a_queue_missing_from_the_ring_is_found(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """Jobs pushed by RQ's own code, or left by a worker that died between two steps, are served."""
    run_id = await submit(store)
    redis_sync.delete(keys.RING)

    with running_worker(redis_url):
        assert (await ended(store, run_id)).reason is Reason.OK


async def test_a_worker_that_redis_forgot_registers_again(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A worker whose record was lost is back in `rq info` within a heartbeat or two."""
    with running_worker(redis_url) as worker:
        name = worker.name(redis_sync)
        redis_sync.delete(f"rq:worker:{name}", "rq:workers")
        redis_sync.hset(f"rq:worker:{name}", "state", "idle")  # a command that was on its way

        Deadline().until(lambda: worker.name(redis_sync) == name, "the worker's return")

        assert redis_sync.ttl(f"rq:worker:{name}") > 0
        assert (await ended(store, await submit(store))).reason is Reason.OK


# --- parts ---------------------------------------------------------------------------------------


def at_work(pids: list[int]) -> list[int]:
    """Give those of `pids` that used the processor in the last tenth of a second."""
    before = {pid: cpu_ticks(pid) for pid in pids}
    end = time.monotonic() + 0.1
    Deadline().until(lambda: time.monotonic() > end, "a tenth of a second")
    return [pid for pid in pids if cpu_ticks(pid) > before[pid] + 2]
