"""Schedules fire each moment once, whatever dies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import QuotaExceeded, Unavailable
from runs.acceptance import Terms
from runs.model import RunRecord
from runs.origin import Origin, OriginKind
from runs.store import RunStore
from tests.deadline import Deadline
from tests.firing_bench import Bench, Dying
from triggers import fire_start, firing
from triggers.firing import RETRY_MS

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(redis_async: Redis) -> Bench:
    """All that, over an empty Redis."""
    return await Bench.open(redis_async)


async def test_a_fire_is_a_run_of_the_saved_script(bench: Bench) -> None:
    """Input, limits, grants, priority and key are the schedule's; it says where it comes from."""
    one = await bench.make(
        input={"a": [1, None]}, limits={"calls": 2}, grants=["mux:read"], priority="low"
    )
    assert one.next_fire_ms == one.created_ms + 1000
    await bench.pass_s(1)
    (run,) = await bench.started()

    assert run.origin == Origin(kind=OriginKind.SCHEDULE, id=one.id)
    assert (run.script_ref, run.limits["calls"], run.grants) == ("job@1", 2, ["mux:read"])
    assert run.priority == "low"
    assert await bench.redis.hget(keys.run(run.id), "input") == b'{"a":[1,null]}'
    assert await bench.redis.hget(keys.run(run.id), "key_id") == bench.key.id.encode()
    shown = await bench.now(one)
    assert (shown.last_run, shown.last_fire_ms) == (run.id, one.next_fire_ms)
    assert shown.next_fire_ms == (one.next_fire_ms or 0) + 1000


async def test_each_moment_is_fired_once_by_many_schedulers(bench: Bench) -> None:
    """Eight at once, moment after moment: one run each, none left out, none twice."""
    one = await bench.make()
    fleet = [bench.scheduler() for _ in range(8)]
    for _ in range(20):
        await bench.pass_s(1, *fleet)
        await bench.end_all()
    assert len(await bench.started()) == 20
    assert await bench.history(one) == [("started", n) for n in range(20)]


async def test_fires_do_not_drift(bench: Bench) -> None:
    """However late each was noticed, the moments stay whole seconds after the first."""
    one = await bench.make()
    for late_s in (1.3, 0.9, 1.7, 1.1, 0.4):
        await bench.pass_s(late_s)
        await bench.end_all()
    await bench.pass_s(0)
    assert [n for _, n in await bench.history(one)] == list(range(5))


@pytest.mark.parametrize("done", [False, True], ids=["not-started", "started"])
async def test_a_scheduler_that_dies_over_a_fire_leaves_it_to_the_next(
    bench: Bench, *, done: bool
) -> None:
    """Whether the run had been started or not, it is started once, for its own moment."""
    one = await bench.make()
    with pytest.raises(asyncio.CancelledError):
        await bench.pass_s(1, bench.scheduler(Dying(bench.redis, done=done)))
    assert len(await bench.started()) == int(done)
    await bench.pass_s(0.1)
    assert await bench.history(one) == []

    await bench.pass_s(RETRY_MS / 1000)
    assert len(await bench.started()) == 1
    assert (await bench.history(one))[0] == ("started", 0)


async def test_a_run_that_was_started_and_forgotten_is_not_started_again(bench: Bench) -> None:
    """Its record has expired by the time somebody looks after the fire: the list still has it."""
    one = await bench.make()
    with pytest.raises(asyncio.CancelledError):
        await bench.pass_s(1, bench.scheduler(Dying(bench.redis, done=True)))
    (run,) = await bench.started()
    await bench.redis.delete(keys.run(run.id))
    await bench.pass_s(RETRY_MS / 1000)
    assert run.id not in {one.id for one in await bench.started()}
    assert (await bench.history(one))[0] == ("started", 0)


async def test_a_scheduler_that_was_frozen_over_a_fire_changes_nothing(bench: Bench) -> None:
    """Another has taken the fire on meanwhile: the late start finds the run, and tells nothing."""
    one, thawed = await bench.make(), asyncio.Event()

    class Frozen(RunStore):
        async def submit_checked(self, *args: Any, **named: Any) -> RunRecord:
            await thawed.wait()
            return await super().submit_checked(*args, **named)

    bench.at_ms += 1000
    frozen = asyncio.create_task(bench.scheduler(Frozen(bench.redis)).turn())

    async def taken() -> int:
        return await bench.redis.zcard(keys.SCHEDULES_STARTING)

    await Deadline().reached(taken, "the fire")
    await bench.pass_s(RETRY_MS / 1000)
    thawed.set()
    await frozen
    assert (await bench.history(one)) == [("started", 0)]
    assert len(await bench.started()) == 1


async def test_a_tenant_with_many_schedules_delays_its_own(bench: Bench) -> None:
    """Of what is due at once, each tenant's first goes before anybody's second."""
    due = [b"acme|1", b"acme|2", b"acme|3", b"other|4", b"third|5", b"other|6"]
    assert firing.in_turns(due) == [
        *(b"acme|1", b"other|4", b"third|5"),
        *(b"acme|2", b"other|6", b"acme|3"),
    ]


async def test_a_run_that_cannot_be_started_now_is_started_later(bench: Bench) -> None:
    """A full queue and a Redis that is away are no failures, unless they last."""
    one = await bench.make()

    class Full(RunStore):
        async def submit_checked(self, *_: Any, **__: Any) -> RunRecord:
            raise QuotaExceeded("full", retry_after_s=5)

    class Away(RunStore):
        async def submit_checked(self, *_: Any, **__: Any) -> RunRecord:
            raise Unavailable("away")

    await bench.pass_s(1, bench.scheduler(Full(bench.redis)))
    await bench.pass_s(5, bench.scheduler(Away(bench.redis)))
    assert await bench.history(one) == []
    await bench.pass_s(1)
    assert (await bench.history(one))[0] == ("started", 0)

    two = await bench.make(every_s=86_400, missed="skip")
    await bench.end_all()
    await bench.schedules.delete(bench.key, one.id)
    await bench.pass_s(((two.next_fire_ms or 0) - bench.at_ms) / 1000)
    await bench.end_all()
    three = await bench.make(every_s=86_400)
    bench.at_ms = three.next_fire_ms or 0
    full = bench.scheduler(Full(bench.redis))
    await full.turn()
    await bench.pass_s(fire_start.GIVE_UP_MS / 1000 + 1, full)
    (row,) = await bench.schedules.history("acme", three.id, limit=10)
    assert (row.outcome, row.reason) == ("failed", "full")


async def test_a_schedule_that_nobody_can_read_stops_no_other(bench: Bench) -> None:
    """A damaged record is passed over, also by the next turns."""
    broken, one = await bench.make(), await bench.make()
    await bench.redis.hset(keys.schedule(broken.id), "spec", "{")
    await bench.pass_s(1)
    await bench.pass_s(0)
    assert (await bench.history(one))[0] == ("started", 0)


async def test_a_full_ledger_delays_fires_and_loses_none(bench: Bench) -> None:
    """No ledger, no run: the fire is begun, and started when the sequencer has caught up."""
    one = await bench.make()
    behind = RunStore(bench.redis, Terms(inbox_max=1))
    await bench.pass_s(1, bench.scheduler(behind))
    assert await bench.started() == []
    await bench.pass_s(1)
    assert (await bench.history(one))[0] == ("started", 0)
