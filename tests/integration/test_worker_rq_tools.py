"""RQ's own tools beside our worker: stop, cancel, suspend, info, dependents, foreign jobs."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from rq import Queue
from rq.command import send_stop_execution_command, send_stop_job_command
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.suspension import resume, suspend
from rq.worker.base import BaseWorker

from runs.model import State
from runs.rq_job import job_data
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.integration.run_watching import (
    ENDLESS,
    QUEUE,
    TENANT,
    ended,
    failure_text,
    in_state,
    submit,
)
from tests.worker_processes import WorkerProcess


async def test_rqs_own_stop_commands_end_a_run(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis
) -> None:
    """`stop-job` and `stop-execution` mean one run, however many the worker has in hand."""
    first, second = await submit(store, ENDLESS), await submit(store, ENDLESS)
    await in_state(store, first, State.RUNNING)
    await in_state(store, second, State.RUNNING)

    send_stop_job_command(redis_sync, first, serializer="json")
    assert (await ended(store, first)).reason is Reason.CANCELLED
    assert (await store.get(TENANT, second)).status is State.RUNNING

    (execution,) = Job.fetch(second, connection=redis_sync, serializer="json").get_executions()
    send_stop_execution_command(redis_sync, second, execution.id)
    assert (await ended(store, second)).reason is Reason.CANCELLED


async def test_a_job_cancelled_by_rqs_tools_ends_its_run(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis
) -> None:
    """RQ's own cancel knows nothing of runs; the sweep ends the run all the same."""
    suspend(redis_sync)
    run_id = await submit(store)

    Job.fetch(run_id, connection=redis_sync, serializer="json").cancel()

    assert (await ended(store, run_id)).reason is Reason.CANCELLED
    assert Job.fetch(run_id, connection=redis_sync, serializer="json").is_canceled


async def test_suspended_workers_take_nothing_and_resumed_ones_everything(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis
) -> None:
    """`rq suspend` holds from the next claim on, `rq resume` lifts it; nothing is lost."""
    suspend(redis_sync)
    run_ids = [await submit(store) for _ in range(3)]
    name = worker.name(redis_sync)
    Deadline().until(
        lambda: redis_sync.hget(f"rq:worker:{name}", "state") == b"suspended", "suspension"
    )
    assert {(await store.get(TENANT, run_id)).status for run_id in run_ids} == {State.QUEUED}

    resume(redis_sync)

    for run_id in run_ids:
        assert (await ended(store, run_id)).reason is Reason.OK


async def test_a_job_that_names_another_function_is_refused_unseen(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """Who can write to Redis cannot make a worker import or call anything."""
    witness = tmp_path / "witness"
    queue = Queue(QUEUE, connection=redis_sync, serializer="json")
    foreign = queue.enqueue("os.mkdir", str(witness))
    stolen = queue.enqueue("os.mkdir", str(witness), job_id="run_" + "0" * 26)

    for job in (foreign, stolen):
        Deadline().until(lambda job=job: job.get_status() == "failed", "the refusal")  # type: ignore[misc]
        assert failure_text(job) == (
            "this worker runs moonsand.run and nothing else, not 'os.mkdir'"
        )

    assert not witness.exists()
    assert (await ended(store, await submit(store))).reason is Reason.OK


async def test_a_job_without_a_record_fails_and_says_so(
    worker: WorkerProcess, redis_sync: redis.Redis
) -> None:
    """A job that outlived its run's record is a failed job, not a hanging one."""
    queue = Queue(QUEUE, connection=redis_sync, serializer="json")
    job = queue.enqueue("moonsand.run", "run_" + "1" * 26, job_id="run_" + "1" * 26)

    Deadline().until(lambda: job.get_status() == "failed", "the failure")

    assert failure_text(job) == ("there is no record of this run; it may have expired")


async def test_jobs_that_depend_on_a_run_are_enqueued_when_it_ends(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis
) -> None:
    """RQ's `depends_on` works with our jobs."""
    suspend(redis_sync)
    run_id = await submit(store)
    elsewhere = Queue("elsewhere", connection=redis_sync, serializer="json")
    job = elsewhere.enqueue("os.getpid", depends_on=run_id)
    assert job.is_deferred
    resume(redis_sync)

    await ended(store, run_id)

    Deadline().until(lambda: job.get_status() == "queued", "the dependent's turn")


async def test_rq_sees_the_worker_its_queues_and_its_jobs(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis
) -> None:
    """What `rq info` and dashboards read is there: queues, state, executions, counts."""
    run_id, done = await submit(store, ENDLESS), await submit(store)
    await ended(store, done)
    await in_state(store, run_id, State.RUNNING)

    (seen,) = BaseWorker.all(connection=redis_sync, serializer="json")

    assert seen.queue_names() == [QUEUE]
    assert seen.get_state() == "busy"
    assert seen.successful_job_count == 1
    assert [execution.job_id for execution in seen.get_current_executions()] == [run_id]
    assert run_id in StartedJobRegistry(QUEUE, connection=redis_sync, serializer="json")
    await store.cancel(TENANT, run_id)
    await ended(store, run_id)
    Deadline().until(lambda: redis_sync.hget(seen.key, "state") == b"idle", "rest")


def test_a_job_is_the_call_that_rq_would_write(redis_sync: redis.Redis) -> None:
    """RQ reads our envelope as `moonsand.run(run id)`; its own holds the same text."""
    queue = Queue("any", connection=redis_sync, serializer="json")
    job = queue.enqueue("moonsand.run", "run_1", job_id="run_1")

    theirs: Any = redis_sync.hget(job.key, "data")
    assert zlib.decompress(theirs) == zlib.decompress(job_data("run_1"))
    redis_sync.hset(job.key, "data", job_data("run_1"))
    job = Job.fetch("run_1", connection=redis_sync, serializer="json")
    assert (job.func_name, list(job.args), job.kwargs) == ("moonsand.run", ["run_1"], {})
