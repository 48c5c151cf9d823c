"""What is kept of a waiting run lives as long as it waits, and is small, counted and bounded."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import redis.asyncio
from rq.job import Job

from core import keys
from core.clock import now_ms
from core.errors import QuotaExceeded
from integrations.waits import Decision
from runs.acceptance import Terms
from runs.approvals import ApprovalStore
from runs.events import read
from runs.model import RunRequest
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.integration.run_watching import TENANT, ended, submit, take_and_vanish
from tests.waiting_runs import FAR_MS, SOON, question, sleep_to, suspend
from tests.worker_processes import running_worker


async def test_nothing_of_a_waiting_run_expires(store: RunStore, redis_sync: redis.Redis) -> None:
    """Record, tape, events and job have no time to live; what is shared has a longer one."""
    run_id = await submit(store)
    claim = take_and_vanish(redis_sync)
    until_ms = now_ms() + 300 * 86_400_000
    suspend(redis_sync, claim, question(until_ms))

    own = [keys.run(run_id), keys.tape(run_id), keys.events(run_id), f"rq:job:{run_id}"]
    assert [redis_sync.ttl(key) for key in [*own, keys.approvals(run_id)]] == [-1] * 5
    record = await store.get(TENANT, run_id)
    for shared in (keys.script(record.script_sha256), keys.tenant_runs(TENANT)):
        left: Any = redis_sync.ttl(shared)
        assert left * 1000 + now_ms() > until_ms
    await store.cancel(TENANT, run_id)
    assert redis_sync.ttl(keys.run(run_id)) > 0
    assert redis_sync.ttl(keys.approvals(run_id)) > 0


async def test_the_events_of_a_waiting_run_take_one_small_node(
    store: RunStore, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """Ten thousand may wait: an event tells its time by its id, and all three fit together."""
    run_id = await submit(store)
    claim = take_and_vanish(redis_sync)
    suspend(redis_sync, claim, question(now_ms() + FAR_MS))

    events = await read(redis_async, run_id, "0-0", None)
    assert [one.data["state"] for one in events] == ["queued", "running", "waiting"]
    assert [one.data["at_ms"] for one in events] == [int(one.id.split("-")[0]) for one in events]
    info: Any = redis_sync.xinfo_stream(keys.events(run_id))
    assert info["radix-tree-keys"] == 1


@pytest.mark.parametrize("how", ["answered", "cancelled"])
async def test_a_job_has_its_times_to_live_again_when_its_run_goes_on(
    store: RunStore, redis_sync: redis.Redis, approvals: ApprovalStore, how: str
) -> None:
    """They are left out while it waits; RQ reads them as before once it is queued or has ended."""
    run_id = await submit(store)

    def lives() -> tuple[int | None, int | None]:
        job = Job.fetch(run_id, connection=redis_sync, serializer="json")
        return job.result_ttl, job.failure_ttl

    before = lives()
    assert None not in before
    suspend(redis_sync, take_and_vanish(redis_sync), question(now_ms() + FAR_MS))
    assert lives() == (None, None)
    if how == "answered":
        await approvals.answer(TENANT, run_id, 2, Decision.APPROVE, by="key_1")
    else:
        await store.cancel(TENANT, run_id)
    assert lives() == before


async def test_waiting_is_no_wall_time_and_has_a_bound_of_its_own(
    redis_url: str, store: RunStore
) -> None:
    """A run may wait longer than it may execute, and no longer than the operator allows."""
    script = """
    sleep(5)
    local ok, problem = pcall(sleep, 3600)
    return problem.code
    """
    with running_worker(redis_url, wait_max_s=60, **SOON):
        run_id = await submit(store, RunRequest(script=script, limits={"wall_ms": 4_900}))
        record = await ended(store, run_id)

    assert (record.reason, record.result) == (Reason.OK, "wait_limit")
    assert record.usage.wall_ms < 4_900


async def test_waiting_runs_count_towards_what_a_tenant_may_have(
    redis_async: redis.asyncio.Redis, redis_sync: redis.Redis
) -> None:
    """Nobody fills Redis with runs that wait: they are counted with those that are queued."""
    store = RunStore(redis_async, Terms(queue_max=1))
    await submit(store)
    claim = take_and_vanish(redis_sync)
    suspend(redis_sync, claim, sleep_to(now_ms() + FAR_MS))

    with pytest.raises(QuotaExceeded):
        await submit(store)
    await store.cancel(TENANT, claim.run_id)
    await submit(store)
