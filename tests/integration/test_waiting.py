"""Runs that wait: let go, found again on time, executed once, whoever is killed meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
import redis
import redis.asyncio
from rq import Queue
from rq.job import Job, JobStatus
from rq.registry import ScheduledJobRegistry, clean_registries

from core import keys
from core.clock import now_ms
from integrations.waits import Decision
from runs.approvals import ApprovalStore
from runs.model import RunRequest, State
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.flaky_redis import Fault, FlakyRedis
from tests.integration.run_watching import (
    LOST_S,
    QUEUE,
    TENANT,
    ended,
    in_state,
    nothing_held,
    submit,
    take_and_vanish,
    tape,
)
from tests.waiting_runs import ASKER, FAR_MS, SLEEPER, SOON, answer, asked, sleep_to, suspend
from tests.worker_processes import LEASE_S, WorkerProcess, running_worker
from worker.claim import Claim, Claimer
from worker.plan import WorkerPlan

#: Sleeps while its worker is stopped.
LONG_SLEEPER = RunRequest(script=SLEEPER.script.replace("sleep(2)", "sleep(6)"))

# --- across the death of workers -----------------------------------------------------------------


@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
async def test_a_sleep_outlives_its_worker(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, *, graceful: bool
) -> None:
    """Another worker wakes it on time: printed once, asked once, the clock has moved on."""
    with running_worker(redis_url, **SOON) as first:
        plain = await ended(store, await submit(store, RunRequest(script="return 1")))
        run_id = await submit(store, LONG_SLEEPER)
        waiting = await in_state(store, run_id, State.WAITING)
        assert nothing_held(redis_sync)
        if graceful:
            assert first.stop() == 0
        else:
            first.kill()
    with running_worker(redis_url, **SOON):
        record = await ended(store, run_id, seconds=LOST_S + 6)
        events = [one async for one in store.events(TENANT, run_id)]

    assert plain.reason is Reason.OK
    assert waiting.waits is not None
    assert [(one.kind, one.call) for one in waiting.waits] == [("sleep", 1)]
    assert waiting.output == "before\n"
    assert (record.reason, record.output, record.attempt) == (Reason.OK, "before\nafter\n", 2)
    assert record.result >= 6
    assert record.waits is None
    assert "".join(one.data["text"] for one in events if one.type == "log") == record.output
    states = [one.data["state"] for one in events if one.type == "state"]
    assert states == ["queued", "running", "waiting", "running", "succeeded"]
    assert tape(redis_sync, run_id) == [
        *("accepted", "started", "waiting"),
        *("started", "effect", "finished"),
    ]


async def test_an_answer_comes_while_no_worker_is_there(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, approvals: ApprovalStore
) -> None:
    """Who, when and what was said reaches the script, the tape and the ledger's inbox."""
    with running_worker(redis_url, **SOON) as first:
        run_id = await submit(store, ASKER)
        one = await asked(store, approvals, run_id)
        first.kill()
    said = await answer(approvals, one, Decision.APPROVE)
    assert await approvals.page(TENANT) == ([], None)
    with running_worker(redis_url, **SOON):
        record = await ended(store, run_id)

    assert (one.title, one.details) == ("Go on?", {"rows": 3})
    assert (record.result, record.output) == ([True, "key_2", "well"], "before\nafter\n")
    rows: Any = redis_sync.xrange(keys.tape(run_id))
    [told] = [orjson.loads(row[b"body"]) for _, row in rows if row[b"kind"] == b"answered"]
    assert (told["by"], told["at_ms"], told["decision"]) == ("key_2", said.at_ms, "approve")
    inbox: Any = redis_sync.xrange(keys.LEDGER_INBOX)
    leaves = [orjson.loads(row[b"leaf"]) for _, row in inbox if b"leaf" in row]
    kinds = [leaf["kind"] for leaf in leaves]
    assert kinds.count("approval.asked") == kinds.count("approval.answered") == 1
    assert "Go on?" not in str(leaves)
    assert await approvals.of_run(TENANT, run_id) == [said]


@pytest.mark.parametrize("word", ["\r\nwaiting\r\n", '[{"for":'], ids=["entry", "lease"])
@pytest.mark.parametrize("happened", [False, True], ids=["before", "after"])
async def test_a_worker_killed_while_it_lets_go_loses_nothing(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, word: str, *, happened: bool
) -> None:
    """Killed at the tape's entry or at the lease, before it happened or after: one end."""
    with (
        FlakyRedis(redis_url.removeprefix("unix://")) as wire,
        running_worker(wire.url, slots=1, **SOON) as doomed,
    ):
        # From now on Redis knows the scripts, so that the word is met once.
        await ended(store, await submit(store, RunRequest(script="sleep(0.1)")))
        wire.arm(Fault.HOLD_AFTER if happened else Fault.HOLD_BEFORE, word)
        run_id = await submit(store, SLEEPER)
        Deadline().until(wire.struck.is_set, "the boundary", seconds=20)
        doomed.kill()
    with running_worker(redis_url, slots=1, **SOON):
        record = await ended(store, run_id, seconds=LOST_S + 3)

    assert (record.reason, record.output) == (Reason.OK, "before\nafter\n")
    kinds = tape(redis_sync, run_id)
    assert (kinds.count("waiting"), kinds.count("effect"), kinds.count("finished")) == (1, 1, 1)
    assert nothing_held(redis_sync)
    assert redis_sync.zcard(keys.WAITING) == 0


# --- once ----------------------------------------------------------------------------------------


async def test_workers_that_race_wake_each_run_once(
    store: RunStore, redis_sync: redis.Redis, redis_url: str
) -> None:
    """However many look at the same moment, every run that is due is claimed by one."""
    ids = {await submit(store) for _ in range(40)}
    held: list[Claim] = []
    while len(held) < len(ids):
        held += Claimer(redis_sync, WorkerPlan("vanished", 99, lease_s=LEASE_S)).claim(16) or []
    due_ms = now_ms()
    assert [suspend(redis_sync, claim, sleep_to(due_ms)) for claim in held] == [1] * len(ids)

    def claims(name: str) -> list[Claim]:
        with redis.Redis.from_url(redis_url, protocol=3) as client:
            claimer, found = Claimer(client, WorkerPlan(name, 99, lease_s=60)), list[Claim]()
            while more := claimer.claim(4):
                found += more
            return found

    with ThreadPoolExecutor(4) as pool:
        taken = [one for part in pool.map(claims, "abcd") for one in part]

    assert sorted(one.run_id for one in taken) == sorted(ids)
    assert {one.attempt for one in taken} == {2}
    assert redis_sync.zcard(keys.WAITING) == redis_sync.llen(f"rq:queue:{QUEUE}") == 0


async def test_letting_go_twice_is_letting_go_once(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """An answer of Redis that was lost does no harm, also when the run goes on meanwhile."""
    await submit(store)
    claim = take_and_vanish(redis_sync)
    wait = sleep_to(now_ms() + FAR_MS)

    assert [suspend(redis_sync, claim, wait) for _ in range(2)] == [1, 0]
    assert redis_sync.zcard(keys.WAITING) == 1
    record = await store.get(TENANT, claim.run_id)
    assert (record.status, record.output, record.usage.wall_ms) == (State.WAITING, "printed\n", 7)


# --- RQ's tools ----------------------------------------------------------------------------------


async def test_rqs_tools_neither_start_nor_lose_a_waiting_run(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis, approvals: ApprovalStore
) -> None:
    """It is scheduled for them; pushed into its queue by hand it waits on; cancelled it ends."""
    run_id = await submit(store, ASKER)
    one = await asked(store, approvals, run_id)
    queue = Queue(QUEUE, connection=redis_sync, serializer="json")
    registry = ScheduledJobRegistry(queue=queue)  # type: ignore[no-untyped-call]
    assert run_id in registry
    clean_registries(queue)

    registry.remove(run_id)
    redis_sync.rpush(f"rq:queue:{QUEUE}", run_id)
    Deadline().until(lambda: run_id in registry, "it to be scheduled again")
    record = await store.get(TENANT, run_id)
    assert (record.status, record.attempt) == (State.WAITING, 1)
    job = Job.fetch(run_id, connection=redis_sync, serializer="json")
    assert job.get_status() is JobStatus.SCHEDULED

    await answer(approvals, one, Decision.APPROVE)
    assert (await ended(store, run_id)).reason is Reason.OK
    again = await submit(store, ASKER)
    await asked(store, approvals, again)
    Job.fetch(again, connection=redis_sync, serializer="json").cancel()
    assert (await ended(store, again)).reason is Reason.CANCELLED
