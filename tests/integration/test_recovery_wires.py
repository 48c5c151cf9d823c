"""A connection breaks before a command or after it was done: the outcome is one and the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio

from core import keys
from core.errors import Unavailable
from core.ids import new_id
from core.redis_client import connect_async
from runs.endings import Ending
from runs.redis_scripts import load
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.faults.lab import blocked
from tests.flaky_redis import Fault, FlakyRedis
from tests.integration.run_watching import (
    CALLING,
    LOST_S,
    QUEUE,
    SHORT,
    TENANT,
    ended,
    nothing_held,
    picture,
    submit,
    take_and_vanish,
    tape,
)
from tests.silent_vendor import SilentVendor
from tests.worker_processes import running_worker
from worker.outbox import Outbox, deliver_ending

#: A word on the wire that only the FINISH script's arguments hold: a field of the record.
A_RUNS_END = "\r\noutput\r\n"


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


async def test_a_result_that_comes_after_the_lease_was_lost_is_refused(
    redis_url: str,
    store: RunStore,
    redis_sync: redis.Redis,
    redis_async: redis.asyncio.Redis,
) -> None:
    """FINISH writes nothing, anywhere, once somebody else has ended the job."""
    run_id = await submit(store)
    late = take_and_vanish(redis_sync)
    with running_worker(redis_url, attempts=1) as worker:
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


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=lambda one: one.name)
async def test_a_claim_whose_answer_is_lost_is_made_once(
    flaky: FlakyRedis, store: RunStore, redis_sync: redis.Redis, fault: Fault
) -> None:
    """Whether Redis did the claim or not, the run is executed, and once."""
    with running_worker(flaky.url, lease_s=12):  # longer than a break of the connection
        await ended(store, await submit(store))
        Deadline().until(lambda: blocked(redis_sync), "an idle worker")
        flaky.arm(fault, load("claim").sha1)
        run_id = await submit(store)
        record = await ended(store, run_id)
        Deadline().until(flaky.struck.is_set, "the cut")

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
    """Killed after the script's result came: done if Redis heard of it, else executed again."""
    with running_worker(flaky.url, slots=1) as doomed:
        await ended(store, await submit(store))  # from now on Redis knows the scripts
        flaky.arm(fault, A_RUNS_END)
        run_id = await submit(store)
        Deadline().until(flaky.struck.is_set, "the end on its way")
        doomed.kill()
    with running_worker(redis_url):
        record = await ended(store, run_id, seconds=LOST_S)

    again = [] if fault is Fault.HOLD_AFTER else ["started"]
    assert record.reason is Reason.OK
    assert tape(redis_sync, run_id) == ["accepted", "started", *again, "finished"]
    assert nothing_held(redis_sync)


async def test_nothing_is_sent_whose_intent_was_not_confirmed(
    flaky: FlakyRedis, store: RunStore, redis_sync: redis.Redis, vendor: SilentVendor
) -> None:
    """Redis had written the intent and could not say so: no vendor hears of the call, ever."""
    with running_worker(flaky.url, accounts=vendor.accounts):
        flaky.arm(Fault.CUT_AFTER, "arguments_sha256")
        run_id = await submit(store, CALLING)
        record = await ended(store, run_id, seconds=LOST_S)

    assert flaky.struck.is_set()
    assert (record.reason, record.attempt) == (Reason.EFFECT_UNKNOWN, 2)
    assert tape(redis_sync, run_id) == [
        *("accepted", "started", "intent", "started", "effect", "finished")
    ]
    assert not vendor.asked.is_set()


async def test_an_intent_that_redis_never_saw_is_written_by_the_next_attempt(
    flaky: FlakyRedis, store: RunStore, redis_sync: redis.Redis, vendor: SilentVendor
) -> None:
    """Redis had not written the intent: nothing was sent, and the next attempt sends it."""
    with running_worker(flaky.url, accounts=vendor.accounts):
        flaky.arm(Fault.CUT_BEFORE, "arguments_sha256")
        run_id = await submit(store, CALLING)
        Deadline().until(vendor.asked.is_set, "the request", seconds=LOST_S)

    assert flaky.struck.is_set()
    assert tape(redis_sync, run_id) == ["accepted", "started", "started", "intent"]


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


async def _seen(what: list[int]) -> bool:
    return bool(what)
