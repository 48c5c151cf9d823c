"""Nothing that asks is sent before a yes; a question is answered once, in time, by its tenant."""

from __future__ import annotations

import asyncio

import pytest
import redis
import redis.asyncio

from core import keys
from core.clock import now_ms
from core.errors import Conflict, NotFound
from integrations.waits import Decision
from runs.approvals import ApprovalStore
from runs.model import RunRequest, State
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.faults.counting_vendor import CountingVendor
from tests.integration.run_watching import QUEUE, TENANT, ended, submit, take_and_vanish
from tests.waiting_runs import ASKER, FAR_MS, SOON, answer, asked, question, sleep_to, suspend
from tests.worker_processes import WorkerProcess, running_worker

EXPIRING = RunRequest(script="approval.request{ title = 'Quick?', timeout = 1 }")


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
