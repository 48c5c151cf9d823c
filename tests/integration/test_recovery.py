"""A child, a worker, a connection or Redis dies: the right reason, and nothing else is lost."""

from __future__ import annotations

import asyncio
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
from core.errors import Unavailable
from core.ids import new_id
from core.redis_client import connect_async
from core.redis_server import PrivateRedis
from runs.endings import Ending
from runs.model import State
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.flaky_redis import Fault, FlakyRedis
from tests.integration.run_watching import (
    CALLING,
    ENDLESS,
    QUEUE,
    SHORT,
    TENANT,
    ended,
    in_state,
    nothing_held,
    submit,
    tape,
)
from tests.silent_vendor import SilentVendor
from tests.worker_processes import LEASE_S, running_worker
from worker.claim import Claim, Claimer
from worker.outbox import Outbox, deliver_ending
from worker.plan import WorkerPlan

#: A lost worker's run has ended after this: its lease, a look around, and slack for a busy machine.
LOST_S = LEASE_S + LEASE_S / 6 + 6
#: A word on the wire that only the FINISH script's arguments hold: a field of the record.
A_RUNS_END = "\r\noutput\r\n"


@pytest.fixture
def store(redis_async: redis.asyncio.Redis) -> RunStore:
    """The accepting side, on a connection that does not break."""
    return RunStore(redis_async)


@pytest.fixture
def flaky(redis_url: str) -> Iterator[FlakyRedis]:
    """The same Redis, behind a wire that breaks."""
    with FlakyRedis(redis_url.removeprefix("unix://")) as wire:
        yield wire


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
        child = Deadline().until(lambda: busiest(worker.descendants()), "a child at work")

        assert child is not None
        os.kill(child, signal.SIGKILL)

        record = await ended(store, run_id, seconds=2)
        assert (record.status, record.reason) == (State.FAILED, Reason.CRASHED)
        assert Job.fetch(run_id, connection=redis_sync, serializer="json").is_finished
        assert (await ended(store, await submit(store))).reason is Reason.OK


async def test_a_killed_workers_run_is_lost_and_its_children_are_gone(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A worker killed by signal 9: another ends its runs as lost, nothing lives on or is held."""
    with running_worker(redis_url, slots=1) as doomed:
        run_id = await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)
        queued = await submit(store)
        children = doomed.descendants()
        doomed.kill()
        with running_worker(redis_url):
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
    Deadline().until(lambda: not any(map(alive, children)), "the death of its children")


async def test_a_lost_run_that_called_nothing_may_be_requeued(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """`rq requeue` after our fault executes the run again, as a new attempt on the same tape."""
    run_id = await submit(store)
    take_and_vanish(redis_sync)
    with running_worker(redis_url):
        assert (await ended(store, run_id, seconds=LOST_S)).reason is Reason.WORKER_LOST

        Job.fetch(run_id, connection=redis_sync, serializer="json").requeue()

        record = await in_state(store, run_id, State.SUCCEEDED)
    assert (record.attempt, record.result, record.error) == (2, 1, None)
    assert tape(redis_sync, run_id) == ["accepted", *2 * ["started", "finished"]]
    events = [event async for event in store.events(TENANT, run_id)]
    assert events[-1].data["state"] == "succeeded"


async def test_a_lost_run_that_called_outside_is_never_executed_again(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, vendor: SilentVendor
) -> None:
    """A write in flight when the worker died is `unknown`; requeueing gives the same answer."""
    with running_worker(redis_url, accounts=vendor.accounts) as doomed:
        run_id = await submit(store, CALLING)
        Deadline().until(vendor.asked.is_set, "the request")
        doomed.kill()
    vendor.asked.clear()
    with running_worker(redis_url, accounts=vendor.accounts):
        record = await ended(store, run_id, seconds=LOST_S)
        Job.fetch(run_id, connection=redis_sync, serializer="json").requeue()
        job = Job.fetch(run_id, connection=redis_sync, serializer="json")
        Deadline().until(lambda: len(job.results()) == 2, "the second answer to RQ")
        again = await store.get(TENANT, run_id)

    assert record.reason is Reason.WORKER_LOST
    assert record.error is not None
    assert record.error.message == (
        "the worker that executed this run was lost; 1 external call had been made, "
        "1 of unknown effect"
    )
    assert [(call.name, call.effect) for call in record.calls] == [("mux.create_asset", "unknown")]
    assert again == record
    assert not vendor.asked.is_set()
    assert Job.fetch(run_id, connection=redis_sync, serializer="json").is_failed


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
    with running_worker(redis_url, slots=1) as frozen:
        run_id = await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)
        frozen.signal(signal.SIGSTOP)
        with running_worker(redis_url) as other:
            record = await ended(store, run_id, seconds=LOST_S)
            other.stop()
        before = picture(redis_sync, run_id)

        frozen.signal(signal.SIGCONT)
        assert (await ended(store, await submit(store))).reason is Reason.OK

    assert record.reason is Reason.WORKER_LOST
    assert picture(redis_sync, run_id) == before
    assert await store.get(TENANT, run_id) == record


async def test_a_result_that_comes_after_the_lease_was_lost_is_refused(
    redis_url: str,
    store: RunStore,
    redis_sync: redis.Redis,
    redis_async: redis.asyncio.Redis,
) -> None:
    """FINISH writes nothing, anywhere, once somebody else has ended the job."""
    run_id = await submit(store)
    late = take_and_vanish(redis_sync)
    with running_worker(redis_url) as worker:
        await ended(store, run_id, seconds=LOST_S)
        worker.stop()
    before = picture(redis_sync, run_id)

    codes: list[int] = []
    outbox = Outbox(redis_async, "vanished", lambda _, code: codes.append(code))
    outbox.finish(deliver_ending(late, Ending(Reason.OK, result=b"1")))
    sender = asyncio.create_task(outbox.run())
    await Deadline().reached(lambda: _seen(codes), "the answer")
    sender.cancel()

    assert codes == [0]
    assert picture(redis_sync, run_id) == before


# --- a connection breaks: before the command, or after it was done -------------------------------


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=lambda one: one.name)
async def test_a_claim_whose_answer_is_lost_is_made_once(
    flaky: FlakyRedis, store: RunStore, redis_sync: redis.Redis, fault: Fault
) -> None:
    """Whether Redis did the claim or not, the run is executed, and once."""
    with running_worker(flaky.url):
        await ended(store, await submit(store))
        flaky.arm(fault, f"\r\n{QUEUE}\r\n")  # only a claim names the queue that was just popped
        run_id = await submit(store)
        record = await ended(store, run_id)

    assert flaky.struck.is_set()
    assert (record.reason, record.attempt) == (Reason.OK, 1)
    assert tape(redis_sync, run_id) == ["accepted", "started", "finished"]


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=lambda one: one.name)
async def test_an_end_whose_answer_is_lost_is_written_once(
    flaky: FlakyRedis, store: RunStore, redis_sync: redis.Redis, fault: Fault
) -> None:
    """Whether Redis took the end or not, it is there, and once; the slot is free again."""
    with running_worker(flaky.url, slots=1):
        await ended(store, await submit(store))  # from now on Redis knows the scripts
        flaky.arm(fault, A_RUNS_END)
        run_id = await submit(store)
        record = await ended(store, run_id)
        assert (await ended(store, await submit(store))).reason is Reason.OK

    assert flaky.struck.is_set()
    assert record.reason is Reason.OK
    assert tape(redis_sync, run_id) == ["accepted", "started", "finished"]
    assert redis_sync.xlen(f"rq:results:{run_id}") == 1
    assert nothing_held(redis_sync)


@pytest.mark.parametrize("fault", [Fault.HOLD_BEFORE, Fault.HOLD_AFTER], ids=lambda one: one.name)
async def test_a_worker_killed_at_the_end_of_a_run_leaves_one_end(
    redis_url: str, flaky: FlakyRedis, store: RunStore, redis_sync: redis.Redis, fault: Fault
) -> None:
    """Killed after the script's result came: the run is lost or done, as Redis has heard of it."""
    with running_worker(flaky.url, slots=1) as doomed:
        await ended(store, await submit(store))  # from now on Redis knows the scripts
        flaky.arm(fault, A_RUNS_END)
        run_id = await submit(store)
        Deadline().until(flaky.struck.is_set, "the end on its way")
        doomed.kill()
    with running_worker(redis_url):
        record = await ended(store, run_id, seconds=LOST_S)

    heard = fault is Fault.HOLD_AFTER
    assert record.reason is (Reason.OK if heard else Reason.WORKER_LOST)
    assert tape(redis_sync, run_id) == ["accepted", "started", "finished"]
    assert nothing_held(redis_sync)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=lambda one: one.name)
async def test_nothing_is_sent_whose_intent_was_not_confirmed(
    flaky: FlakyRedis,
    store: RunStore,
    redis_sync: redis.Redis,
    vendor: SilentVendor,
    fault: Fault,
) -> None:
    """An intent that Redis did not confirm, written or not, ends the run; no vendor hears of it."""
    with running_worker(flaky.url, accounts=vendor.accounts):
        flaky.arm(fault, "arguments_sha256")
        run_id = await submit(store, CALLING)
        record = await ended(store, run_id)

    assert flaky.struck.is_set()
    assert record.reason is Reason.INTERNAL
    assert record.error is not None
    assert record.error.message == (
        "the run's tape could not be written; no external call had been made"
    )
    written = ["intent"] if fault is Fault.CUT_AFTER else []
    assert tape(redis_sync, run_id) == ["accepted", "started", *written, "finished"]
    assert not vendor.asked.is_set()


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=lambda one: one.name)
async def test_a_submission_sent_again_is_one_run(
    flaky: FlakyRedis, store: RunStore, redis_sync: redis.Redis, fault: Fault
) -> None:
    """Who got no answer and submits again under the same id has one run, queued once."""
    await submit(store, tenant="other")  # from now on Redis knows the script
    run_id = new_id("run")
    async with connect_async(flaky.url) as client:
        broken = RunStore(client)
        flaky.arm(fault, run_id)
        with pytest.raises(
            Unavailable, match=f"the run {run_id} may or may not have been accepted"
        ):
            await broken.submit(TENANT, SHORT, key_id="k", run_id=run_id)
    assert redis_sync.exists(keys.run(run_id)) == (fault is Fault.CUT_AFTER)

    await store.submit(TENANT, SHORT, key_id="k", run_id=run_id)

    assert redis_sync.lrange(f"rq:queue:{QUEUE}", 0, -1) == [run_id.encode()]
    assert tape(redis_sync, run_id) == ["accepted"]


# --- Redis goes away -----------------------------------------------------------------------------


async def test_results_outlive_an_outage_of_redis(tmp_path: Path) -> None:
    """A result that came while Redis was away is delivered when it is back, scripts unknown."""
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    busy = ENDLESS.model_copy(update={"script": "for i = 1, 8e7 do end return 7"})
    with running_worker(server.url, slots=1, lease_s=60) as worker:
        async with connect_async(server.url) as client:
            store = RunStore(client)
            run_id = await submit(store, busy)
            await in_state(store, run_id, State.RUNNING)
        server.stop()
        Deadline().until(lambda: not at_work(worker.descendants()), "the end of the script")
        server.start()
        async with connect_async(server.url) as client:
            store = RunStore(client)
            assert (await ended(store, run_id)).result == 7
            assert (await ended(store, await submit(store))).reason is Reason.OK
    server.stop()


async def test_a_queue_missing_from_the_ring_is_found(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """Jobs pushed by RQ's own code, or left by a worker that died between two steps, are served."""
    run_id = await submit(store)
    redis_sync.delete(keys.RING)

    with running_worker(redis_url):
        assert (await ended(store, run_id, seconds=5)).reason is Reason.OK


async def test_a_worker_that_redis_forgot_registers_again(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A worker whose record was lost is back in `rq info` within a heartbeat or two."""
    with running_worker(redis_url) as worker:
        name = worker.name(redis_sync)
        redis_sync.delete(f"rq:worker:{name}", "rq:workers")

        Deadline().until(lambda: worker.name(redis_sync) == name, "the worker's return")

        assert redis_sync.ttl(f"rq:worker:{name}") > 0
        assert (await ended(store, await submit(store))).reason is Reason.OK


# --- parts ---------------------------------------------------------------------------------------


def take_and_vanish(client: redis.Redis) -> Claim:
    """Claim one run as a worker would that dies right after."""
    claims = Claimer(client, WorkerPlan("vanished", 1, lease_s=LEASE_S)).claim(1)
    assert claims is not None
    assert claims[0].spec is not None
    return claims[0]


async def _seen(what: list[int]) -> bool:
    return bool(what)


def picture(client: redis.Redis, run_id: str) -> dict[str, object]:
    """Give all that Redis holds of one run, dead worker's traces included."""
    return {
        "tape": client.xrange(keys.tape(run_id)),
        "run": client.hgetall(keys.run(run_id)),
        "events": client.xrange(keys.events(run_id)),
        "job": client.hgetall(f"rq:job:{run_id}"),
        "results": client.xrange(f"rq:results:{run_id}"),
        "wip": client.zrange(f"rq:wip:{QUEUE}", 0, -1),
        "leases": client.zrange(keys.LEASES, 0, -1),
    }


def busiest(pids: list[int]) -> int | None:
    """Give the process that is at work, None when none is."""
    return next(iter(at_work(pids)), None)


def at_work(pids: list[int]) -> list[int]:
    """Give those of `pids` that used the processor in the last tenth of a second."""
    before = {pid: ticks(pid) for pid in pids}
    end = time.monotonic() + 0.1
    Deadline().until(lambda: time.monotonic() > end, "a tenth of a second")
    return [pid for pid in pids if ticks(pid) > before[pid] + 2]


def ticks(pid: int) -> int:
    """Give the processor time of a process in clock ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])


def alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
