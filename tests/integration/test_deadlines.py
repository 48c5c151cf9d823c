"""Runs that must begin by a certain time, and what becomes of those that did not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import redis
import redis.asyncio
from rq.job import Job

from core import keys
from core.errors import Invalid
from runs.accept import read_deadline
from runs.expiring import end_expired
from runs.model import RunRequest, State
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.integration.run_watching import QUEUE, SHORT, TENANT, submit, tape
from tests.worker_processes import LEASE_S
from worker.claim import Claimer
from worker.plan import WorkerPlan
from worker.sweep import Sweep


def due(seconds: float) -> RunRequest:
    """Make a request that must begin within so many seconds."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return SHORT.model_copy(update={"expires_at": at.isoformat()})


def past(client: redis.Redis, run_id: str) -> None:
    """Let the deadline of a run be past."""
    client.hset(keys.run(run_id), "expires_ms", 1)
    client.zadd(keys.EXPIRING, {run_id: 1})


async def test_a_run_ends_at_its_deadline_though_nobody_claims(
    store: RunStore, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """It ends as cancelled, expired, in its record, on its tape and in RQ, by the sweep alone."""
    run_id, other = await submit(store, due(2)), await submit(store, due(600))
    sweep = Sweep(redis_async, WorkerPlan("w", 1, lease_s=LEASE_S))

    async def over() -> bool:
        await sweep.once()
        return (await store.get(TENANT, run_id)).status.terminal

    await Deadline().reached(over, "its deadline")

    record = await store.get(TENANT, run_id)
    assert (record.status, record.reason) == (State.CANCELLED, Reason.EXPIRED)
    assert tape(redis_sync, run_id) == ["accepted", "finished"]
    assert Job.fetch(run_id, connection=redis_sync, serializer="json").is_canceled
    assert redis_sync.lrange(f"rq:queue:{QUEUE}", 0, -1) == [other.encode()]
    assert redis_sync.zrange(keys.EXPIRING, 0, -1) == [other.encode()]
    assert (await store.get(TENANT, other)).status is State.QUEUED


async def test_a_run_is_not_begun_after_its_deadline(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """Whoever claims first looks at the time."""
    run_id, other = await submit(store, due(600)), await submit(store)
    past(redis_sync, run_id)

    claims = Claimer(redis_sync, WorkerPlan("w", 2, lease_s=LEASE_S)).claim(2) or []

    assert [one.run_id for one in claims] == [other]
    assert (await store.get(TENANT, run_id)).reason is Reason.EXPIRED
    assert tape(redis_sync, run_id) == ["accepted", "finished"]
    assert redis_sync.zcard(keys.EXPIRING) == 0


async def test_a_run_that_has_begun_is_not_ended_by_its_deadline(
    store: RunStore, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """The deadline is for waiting in the queue."""
    run_id = await submit(store, due(600))
    Claimer(redis_sync, WorkerPlan("w", 2, lease_s=LEASE_S)).claim(1)
    past(redis_sync, run_id)

    assert await end_expired(redis_async) == 1

    assert (await store.get(TENANT, run_id)).status is State.RUNNING
    assert redis_sync.zcard(keys.EXPIRING) == 0


async def test_a_cancelled_run_has_no_deadline_any_more(
    store: RunStore, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """What has ended is left as it is."""
    run_id = await submit(store, due(600))
    await store.cancel(TENANT, run_id)

    assert redis_sync.zcard(keys.EXPIRING) == 0
    past(redis_sync, run_id)
    await end_expired(redis_async)
    assert (await store.get(TENANT, run_id)).reason is Reason.CANCELLED


async def test_many_deadlines_at_once_are_all_kept(
    store: RunStore, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """More than one step of the script takes."""
    runs = [await submit(store, due(600)) for _ in range(230)]
    for run_id in runs:
        past(redis_sync, run_id)

    assert await end_expired(redis_async) == 230

    assert redis_sync.llen(f"rq:queue:{QUEUE}") == 0
    assert redis_sync.zcard(keys.EXPIRING) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-01-01",
        "2099-01-01T00:00:00",
        "2020-01-01T00:00:00Z",
        "2999-01-01T00:00:00Z",
    ],
)
def test_what_is_no_time_to_come_is_refused(text: str) -> None:
    """A deadline has an offset, is in the future, and within a year."""
    with pytest.raises(Invalid) as refused:
        read_deadline(text)
    assert refused.value.pointer == "/expires_at"
