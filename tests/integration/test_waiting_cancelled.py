"""A run that waits, or is about to, is cancelled for good, and no answer starts it again."""

from __future__ import annotations

import asyncio

import pytest
import redis
import redis.asyncio
from rq.job import Job

from core import keys
from core.clock import now_ms
from core.errors import Conflict
from integrations.waits import Decision
from runs.approvals import ApprovalStore
from runs.model import RunRequest, State
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.flaky_redis import Fault, FlakyRedis
from tests.integration.run_watching import (
    QUEUE,
    TENANT,
    ended,
    nothing_held,
    submit,
    take_and_vanish,
    tape,
)
from tests.waiting_runs import ASKER, FAR_MS, SOON, question, sleep_to, suspend
from tests.worker_processes import running_worker


async def test_a_waiting_run_is_cancelled_at_once(
    store: RunStore, redis_sync: redis.Redis, approvals: ApprovalStore
) -> None:
    """Without any worker; its question is gone, its output stays, RQ's job is cancelled."""
    await submit(store)
    claim = take_and_vanish(redis_sync)
    suspend(redis_sync, claim, question(now_ms() + FAR_MS))
    record = await store.cancel(TENANT, claim.run_id)

    assert (record.reason, record.output, record.waits) == (Reason.CANCELLED, "printed\n", None)
    assert tape(redis_sync, claim.run_id)[-1] == "finished"
    assert await approvals.page(TENANT) == ([], None)
    assert redis_sync.zcard(keys.WAITING) == redis_sync.zcard(f"rq:scheduled:{QUEUE}") == 0
    assert Job.fetch(claim.run_id, connection=redis_sync, serializer="json").is_canceled
    with pytest.raises(Conflict):
        await approvals.answer(TENANT, claim.run_id, 2, Decision.APPROVE, by="key_2")


async def test_an_answer_raced_with_a_cancel_starts_nothing(
    store: RunStore, redis_sync: redis.Redis, approvals: ApprovalStore
) -> None:
    """Whichever comes first: the run has one end, and its job waits in no queue."""
    for _ in range(10):
        await submit(store)
        claim = take_and_vanish(redis_sync)
        suspend(redis_sync, claim, question(now_ms() + FAR_MS))
        await asyncio.gather(
            approvals.answer(TENANT, claim.run_id, 2, Decision.APPROVE, by="key_2"),
            store.cancel(TENANT, claim.run_id),
            return_exceptions=True,
        )
        assert (await store.get(TENANT, claim.run_id)).reason is Reason.CANCELLED
        assert tape(redis_sync, claim.run_id).count("finished") == 1
        assert redis_sync.llen(f"rq:queue:{QUEUE}") == 0


async def test_a_run_to_be_cancelled_is_not_let_go(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """Its worker is told, and keeps the lease until it has ended the run."""
    await submit(store)
    claim = take_and_vanish(redis_sync)
    await store.cancel(TENANT, claim.run_id)

    assert suspend(redis_sync, claim, sleep_to(now_ms() + FAR_MS)) == 3
    assert (await store.get(TENANT, claim.run_id)).status is State.RUNNING
    assert not nothing_held(redis_sync)


async def test_a_cancel_on_the_way_to_waiting_ends_the_run(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """Asked for between the tape's entry and the end of the lease, it is not forgotten."""
    with (
        FlakyRedis(redis_url.removeprefix("unix://")) as wire,
        running_worker(wire.url, slots=1, lease_s=30, **SOON),
    ):
        await ended(store, await submit(store, RunRequest(script="sleep(0.1)")))
        wire.arm(Fault.CUT_BEFORE, '[{"for":')
        run_id = await submit(store, ASKER)
        Deadline().until(wire.struck.is_set, "the letting go", seconds=20)
        await store.cancel(TENANT, run_id)
        record = await ended(store, run_id)

    assert record.reason is Reason.CANCELLED
    assert nothing_held(redis_sync)
