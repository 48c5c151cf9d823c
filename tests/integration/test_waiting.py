"""Runs that wait: let go, found again on time, executed once, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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
from core.errors import Conflict, NotFound, QuotaExceeded
from integrations.waits import Decision, Question, Wait
from runs.acceptance import Terms
from runs.approvals import ApprovalStore
from runs.events import read
from runs.model import Approval, RunRequest, State
from runs.redis_scripts import Arg, load
from runs.rq_job import timestamp
from runs.store import RunStore
from runs.suspension import Suspension
from sandbox.outcome import Reason, Usage
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor
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
from tests.worker_processes import LEASE_S, WorkerProcess, running_worker
from worker.claim import Claim, Claimer
from worker.outbox import deliver_suspension
from worker.plan import WorkerPlan

SLEEPER = RunRequest(
    script="""
    print("before")
    local began = os.time()
    sleep(2)
    print("after")
    return os.time() - began
    """
)
ASKER = RunRequest(
    script="""
    print("before")
    local said = approval.request{ title = "Go on?", details = { rows = 3 } }
    print("after")
    return { said.approved, said.by, said.comment }
    """
)
EXPIRING = RunRequest(script="approval.request{ title = 'Quick?', timeout = 1 }")
#: Waits of 50 ms are long in these tests.
SOON = {"wait_in_place_ms": 50}
FAR_MS = 3_600_000


@pytest.fixture
def approvals(redis_async: redis.asyncio.Redis) -> ApprovalStore:
    """What runs have asked."""
    return ApprovalStore(redis_async)


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[CountingVendor]:
    """A vendor that counts what is paid."""
    with CountingVendor(tmp_path, TENANT) as one:
        yield one


async def asked(store: RunStore, approvals: ApprovalStore, run_id: str) -> Approval:
    """Wait until a run asks something, and give it."""
    await in_state(store, run_id, State.WAITING)
    [approval], _ = await approvals.page(TENANT)
    assert approval.run == run_id
    return approval


async def answer(approvals: ApprovalStore, one: Approval, decision: Decision) -> Approval:
    """Answer as a person with a key would."""
    return await approvals.answer(TENANT, one.run, one.n, decision, by="key_2", comment="well")


def suspend(client: redis.Redis, claim: Claim, *waits: Wait) -> int:
    """Let go of a run as a worker does; give SUSPEND's answer."""
    said = deliver_suspension(claim, Suspension(waits, Usage(wall_ms=7), "printed\n"))
    args: list[Arg] = [claim.queue, claim.run_id, claim.execution, "vanished", timestamp(now_ms())]
    return int(load("suspend").run(client, [*args, *said.written]))


def sleep_to(until_ms: int) -> Wait:
    """Make a sleep, the first call of its run."""
    return Wait(1, now_ms(), until_ms)


def question(until_ms: int) -> Wait:
    """Make a question, the second call of its run."""
    return Wait(2, now_ms(), until_ms, Question("Go on?"))


# --- across the death of workers -----------------------------------------------------------------


@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
async def test_a_sleep_outlives_its_worker(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, *, graceful: bool
) -> None:
    """Another worker wakes it on time: printed once, asked once, the clock has moved on."""
    with running_worker(redis_url, **SOON) as first:
        plain = await ended(store, await submit(store, RunRequest(script="return 1")))
        run_id = await submit(store, SLEEPER)
        waiting = await in_state(store, run_id, State.WAITING)
        assert nothing_held(redis_sync)
        assert first.children_of_zygote() is not None
        if graceful:
            assert first.stop() == 0
        else:
            first.kill()
    with running_worker(redis_url, **SOON):
        record = await ended(store, run_id, seconds=LOST_S)
        events = [one async for one in store.events(TENANT, run_id)]

    assert plain.reason is Reason.OK
    assert waiting.waits is not None
    assert [(one.kind, one.call) for one in waiting.waits] == [("sleep", 1)]
    assert waiting.output == "before\n"
    assert (record.reason, record.output, record.attempt) == (Reason.OK, "before\nafter\n", 2)
    assert record.result >= 2
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


# --- approvals -----------------------------------------------------------------------------------


async def test_a_granted_call_that_asks_is_made_once_when_approved(
    redis_url: str, store: RunStore, approvals: ApprovalStore, vendor: CountingVendor
) -> None:
    """The approval shows function, account and arguments; the write is sent after it, once."""
    script = """
    local price = app.integrations.till.price({ tag = "r" }).value
    return app.integrations.till.pay({ tag = "w" }) ~= nil
    """
    request = RunRequest(script=script, grants=["till:read", "ask:till:write"])
    with running_worker(redis_url, **SOON, **vendor.settings) as first:
        run_id = await submit(store, request)
        one = await asked(store, approvals, run_id)
        assert (vendor.done["w"], vendor.asked["r"]) == (0, 1)
        first.kill()
        await answer(approvals, one, Decision.APPROVE)
    with running_worker(redis_url, **SOON, **vendor.settings):
        record = await ended(store, run_id)

    assert (one.function, one.account, one.preview) == ("till.pay", "default", '{"tag":"w"}')
    assert (record.reason, record.result) == (Reason.OK, True)
    assert (vendor.done["w"], vendor.asked["r"]) == (1, 1)
    assert [call.name for call in record.calls] == ["till.price", "till.pay"]


async def test_a_denied_call_is_never_made(
    redis_url: str, store: RunStore, approvals: ApprovalStore, vendor: CountingVendor
) -> None:
    """The script gets an error `denied` with the comment; caught or not, nothing is sent."""
    script = """
    local ok, problem = pcall(app.integrations.till.pay, { tag = "w" })
    return { problem.code, problem.comment, problem.by }
    """
    request = RunRequest(script=script, grants=["ask:till"])
    with running_worker(redis_url, **SOON, **vendor.settings):
        run_id = await submit(store, request)
        await answer(approvals, await asked(store, approvals, run_id), Decision.DENY)
        record = await ended(store, run_id)

    assert record.result == ["denied", "well", "key_2"]
    assert vendor.done["w"] == vendor.asked["w"] == 0


async def test_an_answer_counts_once(
    worker: WorkerProcess, store: RunStore, approvals: ApprovalStore
) -> None:
    """The same again is the same; another one, an unknown one or a stranger's is not."""
    run_id = await submit(store, ASKER)
    one = await asked(store, approvals, run_id)
    with pytest.raises(NotFound):
        await approvals.answer(TENANT, run_id, 99, Decision.APPROVE, by="key_2")
    with pytest.raises(NotFound):
        await approvals.answer("other", run_id, one.n, Decision.APPROVE, by="key_2")
    with pytest.raises(NotFound):
        await approvals.of_run("other", run_id)

    said = await asyncio.gather(*(answer(approvals, one, Decision.APPROVE) for _ in range(5)))
    assert len({each.at_ms for each in said}) == 1
    with pytest.raises(Conflict, match="answered before"):
        await answer(approvals, one, Decision.DENY)
    assert (await ended(store, run_id)).attempt == 2
    assert (await answer(approvals, one, Decision.APPROVE)).at_ms == said[0].at_ms


async def test_nobody_in_time_ends_the_run_as_expired(
    worker: WorkerProcess, store: RunStore, redis_sync: redis.Redis, approvals: ApprovalStore
) -> None:
    """A question that timed out takes no answer, and none is left to be answered."""
    run_id = await submit(store, EXPIRING)
    record = await ended(store, run_id)

    assert (record.status, record.reason) == (State.CANCELLED, Reason.EXPIRED)
    [one] = await approvals.of_run(TENANT, run_id)
    with pytest.raises(Conflict, match="ended"):
        await answer(approvals, one, Decision.APPROVE)
    assert await approvals.page(TENANT) == ([], None)
    assert redis_sync.zcard(keys.asked(TENANT)) == 0


async def test_an_answer_is_taken_before_its_time_is_over_or_not_at_all(
    store: RunStore, redis_sync: redis.Redis, approvals: ApprovalStore
) -> None:
    """After that moment none is taken, though nobody has executed the run meanwhile."""
    await submit(store)
    claim = take_and_vanish(redis_sync)
    assert suspend(redis_sync, claim, question(now_ms() - 1)) == 1

    with pytest.raises(Conflict, match="time was over"):
        await approvals.answer(TENANT, claim.run_id, 2, Decision.APPROVE, by="key_2")
    clock_ms, answers = await approvals.answers(claim.run_id)
    assert (answers, clock_ms > 0) == ({}, True)


async def test_an_answer_to_a_run_in_hand_is_found_when_it_comes_to_wait(
    store: RunStore, redis_sync: redis.Redis, approvals: ApprovalStore
) -> None:
    """Woken by a sleep beside it, answered while it is executed: it goes on at once, once."""
    await submit(store)
    first = take_and_vanish(redis_sync)
    waits = [sleep_to(now_ms()), question(now_ms() + FAR_MS)]
    assert suspend(redis_sync, first, *waits) == 1
    second = take_and_vanish(redis_sync)
    await approvals.answer(TENANT, first.run_id, 2, Decision.APPROVE, by="key_2")
    assert redis_sync.llen(f"rq:queue:{QUEUE}") == 0
    assert suspend(redis_sync, second, waits[1]) == 1

    third = take_and_vanish(redis_sync)
    assert (third.attempt, redis_sync.llen(f"rq:queue:{QUEUE}")) == (3, 0)
    assert (await approvals.answers(first.run_id))[1][2].decision is Decision.APPROVE


# --- cancelling ----------------------------------------------------------------------------------


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


# --- limits --------------------------------------------------------------------------------------


async def test_waiting_is_no_wall_time_and_has_a_bound_of_its_own(
    redis_url: str, store: RunStore
) -> None:
    """A run may wait longer than it may execute, and no longer than the operator allows."""
    script = """
    sleep(1.5)
    local ok, problem = pcall(sleep, 3600)
    return problem.code
    """
    with running_worker(redis_url, wait_max_s=60, **SOON):
        run_id = await submit(store, RunRequest(script=script, limits={"wall_ms": 1_400}))
        record = await ended(store, run_id)

    assert (record.reason, record.result) == (Reason.OK, "wait_limit")
    assert record.usage.wall_ms < 1_400


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
