"""A real worker, a real jail and a real Redis: the life of a run, and RQ's own tools beside it."""

from __future__ import annotations

import signal

import redis
import redis.asyncio
from rq.job import Job
from rq.registry import FailedJobRegistry, FinishedJobRegistry
from rq.suspension import resume, suspend

from core import keys
from runs.acceptance import Terms
from runs.model import RunRequest, State
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.integration.run_watching import (
    ENDLESS,
    QUEUE,
    SHORT,
    TENANT,
    attempt_of,
    ended,
    in_state,
    nothing_held,
    submit,
    tape,
)
from tests.worker_processes import WorkerProcess, running_worker


async def test_a_run_is_executed_and_leaves_no_trace_but_its_record(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A run goes from queued to its result; tape, job and events say so; no lease is left."""
    run_id = await submit(store, RunRequest(script="print('hello') return {answer = 42}"))

    record = await ended(store, run_id)

    assert (record.status, record.reason) == (State.SUCCEEDED, Reason.OK)
    assert record.result == {"answer": 42}
    assert record.output == "hello\n"
    assert record.attempt == 1
    assert tape(redis_sync, run_id) == ["accepted", "started", "finished"]
    job = Job.fetch(run_id, connection=redis_sync, serializer="json")
    assert job.is_finished
    assert job.return_value() == {"run": run_id, "reason": "ok"}
    assert run_id in FinishedJobRegistry(QUEUE, connection=redis_sync)
    assert nothing_held(redis_sync)


async def test_the_last_line_printed_comes_before_the_end(
    worker: WorkerProcess, store: RunStore
) -> None:
    """Who reads the events to the end has read all that was printed, in order."""
    run_id = await submit(store, RunRequest(script="for i = 1, 500 do print(i) end"))

    events = [event async for event in store.events(TENANT, run_id)]

    printed = "".join(event.data["text"] for event in events if event.type == "log")
    assert printed == "".join(f"{number}\n" for number in range(1, 501))
    assert [event.data["state"] for event in events if event.type == "state"] == [
        "queued",
        "running",
        "succeeded",
    ]
    assert events[-1].ends_the_run


async def test_a_scripts_own_failure_is_a_finished_job(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis
) -> None:
    """RQ's failed jobs are our faults only; a script that raises is a job well done."""
    run_id = await submit(store, RunRequest(script="error('no')"))

    record = await ended(store, run_id)

    assert (record.status, record.reason) == (State.FAILED, Reason.SCRIPT_ERROR)
    job = Job.fetch(run_id, connection=redis_sync, serializer="json")
    assert job.is_finished
    assert job.return_value() == {"run": run_id, "reason": "script_error"}
    assert FailedJobRegistry(QUEUE, connection=redis_sync).get_job_count(cleanup=False) == 0


async def test_a_queued_run_is_cancelled_at_once(store: RunStore, redis_sync: redis.Redis) -> None:
    """Cancelling what has not begun ends it in the same moment, in the run and in RQ."""
    run_id = await submit(store)

    record = await store.cancel(TENANT, run_id)

    assert (record.status, record.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert record.error is not None
    assert record.error.message == "cancelled on request before it began; nothing was called"
    assert tape(redis_sync, run_id) == ["accepted", "finished"]
    assert Job.fetch(run_id, connection=redis_sync, serializer="json").is_canceled
    assert redis_sync.llen(f"rq:queue:{QUEUE}") == 0


async def test_a_running_run_is_cancelled_at_once(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """Cancelling kills the child of that run and of no other, without waiting for a heartbeat."""
    with running_worker(redis_url, lease_s=300):  # the next one is 75 s away
        run_id, other = await submit(store, ENDLESS), await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)
        await in_state(store, other, State.RUNNING)

        await store.cancel(TENANT, run_id)
        record = await ended(store, run_id)

        assert (record.status, record.reason) == (State.CANCELLED, Reason.CANCELLED)
        assert Job.fetch(run_id, connection=redis_sync, serializer="json").is_stopped
        assert (await store.get(TENANT, other)).status is State.RUNNING
        assert (await store.cancel(TENANT, run_id)).status is State.CANCELLED


async def test_a_lost_stop_command_is_made_up_for(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """The flag alone ends the run: commands are sent to whoever listens and never again."""
    with running_worker(redis_url, lease_s=300):
        run_id = await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)

        redis_sync.set(keys.cancel(run_id), 1)

        assert (await ended(store, run_id)).reason is Reason.CANCELLED


async def test_a_stopped_worker_ends_what_it_has_and_takes_nothing_more(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, vendor: CountingVendor
) -> None:
    """SIGTERM: runs in hand end as they would have, queued ones stay queued, the exit is clean."""
    held = RunRequest(script='return app.integrations.till.price({ tag = "r" }).value')
    with running_worker(redis_url, slots=1, **vendor.settings) as worker:
        vendor.arm(Hold.BEFORE)
        running, queued = await submit(store, held), await submit(store)
        Deadline().until(vendor.struck.is_set, "the run's request")
        worker.signal(signal.SIGTERM)  # before the run can end
        vendor.release(answer=True)
        assert worker.process.wait(20) == 0

    assert (await store.get(TENANT, running)).result == 1
    assert (await store.get(TENANT, queued)).status is State.QUEUED
    assert redis_sync.smembers("rq:workers") == set()
    assert nothing_held(redis_sync)


async def test_a_run_that_outlasts_the_grace_period_goes_on_elsewhere(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A worker that has to go lets its runs go at once; it does not count as lost."""
    with running_worker(redis_url, shutdown_grace_s=0, lease_s=60) as worker:
        run_id = await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)
        assert worker.stop() == 0

    with running_worker(redis_url, attempts=1, lease_s=2):
        again = await attempt_of(store, run_id, 2)
        await store.cancel(TENANT, run_id)
        record = await ended(store, run_id)

    assert again.status is State.RUNNING
    assert (record.reason, record.attempt) == (Reason.CANCELLED, 2)
    assert tape(redis_sync, run_id) == ["accepted", "started", "started", "finished"]
    assert nothing_held(redis_sync)


async def test_a_second_signal_ends_the_grace_period(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """Who asks twice does not wait for the runs in hand."""
    with running_worker(redis_url, shutdown_grace_s=600) as worker:
        run_id = await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)
        worker.signal(signal.SIGTERM)
        other = await submit(store)
        Deadline().until(lambda: redis_sync.zcard(keys.RING), "a claim that is not made")
        Deadline().until(worker.gone_when_told_again, "its going", seconds=20)
        assert worker.process.returncode == 0

    assert (await store.get(TENANT, run_id)).status is State.RUNNING  # for whoever comes next
    assert (await store.get(TENANT, other)).status is State.QUEUED


async def test_a_run_that_waited_too_long_expires(
    redis_url: str, redis_async: redis.asyncio.Redis, redis_sync: redis.Redis
) -> None:
    """RQ lets the job go after its time in the queue; the run ends as `expired`, unexecuted."""
    store = RunStore(redis_async, Terms(queue_ttl_s=1))
    run_id = await submit(store)
    Deadline().until(lambda: not redis_sync.exists(f"rq:job:{run_id}"), "the job's expiry")

    with running_worker(redis_url):
        record = await ended(store, run_id)

    assert (record.status, record.reason) == (State.CANCELLED, Reason.EXPIRED)
    assert tape(redis_sync, run_id) == ["accepted", "finished"]


async def test_a_job_queued_twice_is_executed_once(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A repeated push, as a client's retry may cause, changes nothing."""
    suspend(redis_sync)
    run_id = await submit(store)
    redis_sync.rpush(f"rq:queue:{QUEUE}", run_id, run_id)
    resume(redis_sync)

    record = await ended(store, run_id)
    Deadline().until(lambda: redis_sync.llen(f"rq:queue:{QUEUE}") == 0, "an empty queue")
    Deadline().until(lambda: nothing_held(redis_sync), "the end of the repeats")

    assert record.attempt == 1
    assert tape(redis_sync, run_id) == ["accepted", "started", "finished"]


async def test_a_flood_of_one_tenant_does_not_hold_up_another(
    redis_url: str, store: RunStore
) -> None:
    """Tenants take turns: a single run gets its turn though hundreds were queued before it."""
    for _ in range(300):
        await submit(store, tenant="flood")
    run_id = await submit(store)

    with running_worker(redis_url, slots=2):
        record = await ended(store, run_id)
        ahead, _ = await store.page("flood", limit=200, state=State.SUCCEEDED)

    assert record.reason is Reason.OK
    before = [one for one in ahead if (one.ended_ms or 0) < (record.started_ms or 0)]
    assert len(before) <= 4


async def test_one_tenants_long_runs_leave_room_for_others(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """At its cap a tenant waits, and goes on when one of its runs has ended."""
    with running_worker(redis_url, slots=2, tenant_slots=1):
        first, second = await submit(store, ENDLESS), await submit(store)
        await in_state(store, first, State.RUNNING)
        Deadline().until(lambda: redis_sync.sismember(keys.PARKED, TENANT), "waiting at the cap")
        other = (await store.submit("other", SHORT, key_id="key")).id
        Deadline().until(
            lambda: redis_sync.hget(keys.run(other), "state") == b"succeeded", "the other's run"
        )
        assert (await store.get(TENANT, second)).status is State.QUEUED

        await store.cancel(TENANT, first)

        assert (await ended(store, second)).reason is Reason.OK


async def test_a_burst_ends_when_all_queues_are_empty(redis_url: str, store: RunStore) -> None:
    """`--burst` executes everything there is and exits cleanly."""
    run_ids = [await submit(store) for _ in range(20)]

    assert WorkerProcess(redis_url, "--slots", "4", "--burst").process.wait(30) == 0

    assert {(await store.get(TENANT, run_id)).reason for run_id in run_ids} == {Reason.OK}
