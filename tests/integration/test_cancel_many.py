"""Stopping many runs at once: all of a tenant, or those of a kind."""

from __future__ import annotations

import redis
import redis.asyncio
from rq.job import Job

from core import keys
from runs.cancelling_many import Chosen, cancel_chosen, cancel_runs
from runs.model import CancelledRuns, Priority, RunRequest, State
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.integration.run_watching import ENDLESS, SHORT, TENANT, ended, in_state, submit, tape
from tests.worker_processes import LEASE_S, WorkerProcess
from worker.plan import WorkerPlan
from worker.sweep import Sweep

SLEEPING = RunRequest(script="print('before'); sleep(3600)", name="sleeping")


async def test_all_runs_of_a_tenant_are_cancelled_wherever_they_are(
    worker: WorkerProcess,
    store: RunStore,
    redis_sync: redis.Redis,
    redis_async: redis.asyncio.Redis,
) -> None:
    """Queued and waiting ones end at once, running ones are killed; another tenant's go on."""
    waiting = await submit(store, SLEEPING)
    running = await submit(store, ENDLESS)
    await in_state(store, waiting, State.WAITING)
    await in_state(store, running, State.RUNNING)
    redis_sync.set("rq:suspended", 1)
    queued = [await submit(store, SHORT) for _ in range(3)]
    other = await submit(store, SHORT, "other")

    done = await cancel_chosen(redis_async, TENANT, Chosen())

    assert done == CancelledRuns(ended=4, stopping=1)
    for run_id in (waiting, running, *queued):
        assert (await ended(store, run_id)).reason is Reason.CANCELLED
    assert tape(redis_sync, queued[0]) == ["accepted", "finished"]
    assert (await store.get("other", other)).status is State.QUEUED
    assert await cancel_chosen(redis_async, TENANT, Chosen()) == CancelledRuns()


async def test_more_runs_than_one_step_takes_are_all_cancelled(
    store: RunStore, redis_async: redis.asyncio.Redis
) -> None:
    """Each run once, of all priorities, and nothing is left behind in Redis' queues."""
    for priority in Priority:
        for _ in range(90):
            await submit(store, SHORT.model_copy(update={"priority": priority}))

    done = await cancel_chosen(redis_async, TENANT, Chosen())

    assert done == CancelledRuns(ended=270)
    assert sum([await redis_async.llen(f"rq:queue:{one}") for one in keys.queues(TENANT)]) == 0


async def test_only_runs_that_are_meant_are_cancelled(
    store: RunStore, redis_async: redis.asyncio.Redis
) -> None:
    """Each thing that is named narrows it."""
    plain = await submit(store, SHORT)
    named = await submit(store, SHORT.model_copy(update={"name": "nightly"}))
    high = await submit(store, SHORT.model_copy(update={"priority": Priority.HIGH}))

    async def cancelled(chosen: Chosen) -> set[str]:
        await cancel_chosen(redis_async, TENANT, chosen)
        runs = [await store.get(TENANT, one) for one in (plain, named, high)]
        return {one.id for one in runs if one.status is State.CANCELLED}

    assert await cancelled(Chosen(name="no such name")) == set()
    assert await cancelled(Chosen(states=frozenset({State.WAITING}))) == set()
    assert await cancelled(Chosen(name="nightly", priority=Priority.HIGH)) == set()
    assert await cancelled(Chosen(name="nightly")) == {named}
    assert await cancelled(Chosen(priority=Priority.NORMAL)) == {named, plain}
    assert await cancelled(Chosen(states=frozenset({State.QUEUED}))) == {named, plain, high}


async def test_ids_of_others_are_not_cancelled(
    store: RunStore, redis_async: redis.asyncio.Redis
) -> None:
    """A foreign id is like one that never was."""
    foreign = await submit(store, SHORT, "other")
    own = await submit(store, SHORT)

    done = await cancel_runs(redis_async, TENANT, [foreign, own, "run_" + "0" * 26])

    assert done == CancelledRuns(ended=1)
    assert (await store.get("other", foreign)).status is State.QUEUED


async def test_a_run_cancelled_by_rq_is_seen_after_many_of_ours(
    store: RunStore, redis_async: redis.asyncio.Redis, redis_sync: redis.Redis
) -> None:
    """However many were cancelled in one second, what one of RQ's tools cancels then still ends."""
    for _ in range(250):
        await submit(store, SHORT)
    await cancel_chosen(redis_async, TENANT, Chosen())
    sweep = Sweep(redis_async, WorkerPlan("w", 1, lease_s=LEASE_S))
    await sweep.once()
    theirs = await submit(store, SHORT)
    Job.fetch(theirs, connection=redis_sync, serializer="json").cancel()

    await sweep.once()

    assert (await store.get(TENANT, theirs)).reason is Reason.CANCELLED
