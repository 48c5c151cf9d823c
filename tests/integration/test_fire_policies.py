"""A fire that comes late, or meets the run before it, does what its schedule says, once."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from core import keys
from runs.model import State
from tests.firing_bench import Bench
from triggers import firing

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(redis_async: Redis) -> Bench:
    """All that, over an empty Redis."""
    return await Bench.open(redis_async)


# --- overlap --------------------------------------------------------------------------------------


async def test_a_fire_is_skipped_while_the_run_before_it_goes_on(bench: Bench) -> None:
    """`skip`: as long as it is queued, running or waits; told in the history."""
    one = await bench.make(overlap="skip")
    await bench.pass_s(1)
    await bench.pass_s(1)
    await bench.end_all()
    await bench.pass_s(1)
    assert await bench.history(one) == [("started", 0), ("skipped", 1), ("started", 2)]
    assert len(await bench.started()) == 2


async def test_fires_wait_for_the_run_before_them(bench: Bench) -> None:
    """`queue`: one after the other, in order, each for its own moment; too many are skipped."""
    one = await bench.make(overlap="queue")
    for _ in range(3):
        await bench.pass_s(1)
    assert (await bench.now(one)).waiting == 2
    for _ in range(2):
        await bench.end_all()
        await bench.pass_s(0)
    assert await bench.history(one) == [("started", n) for n in range(3)]
    assert (await bench.now(one)).waiting == 0

    for _ in range(130):
        await bench.pass_s(1)
    shown = await bench.now(one)
    assert (shown.waiting, shown.counts.skipped) == (100, 30)


async def test_an_end_that_nobody_told_of_is_seen(bench: Bench) -> None:
    """However many fires come meanwhile: a run that is gone from Redis holds up none for long."""
    one = await bench.make(overlap="queue")
    await bench.pass_s(1)
    (run,) = await bench.started()
    await bench.pass_s(1)
    await bench.redis.hset(keys.run(run.id), "state", "failed")
    for _ in range(6):
        await bench.pass_s(1)
    assert ("started", 1) in await bench.history(one)


async def test_the_run_before_is_cancelled_for_the_next(bench: Bench) -> None:
    """`cancel_previous`: it is asked to stop, and the newest fire starts once it has ended."""
    one = await bench.make(overlap="cancel_previous")
    await bench.pass_s(1)
    await bench.pass_s(1)
    await bench.pass_s(0)
    first, second = await bench.started()
    assert (first.status, second.status) == (State.CANCELLED, State.QUEUED)

    await bench.redis.hset(keys.run(second.id), "state", "running")
    await bench.pass_s(1)
    await bench.pass_s(1)
    assert await bench.redis.exists(keys.cancel(second.id))
    assert len(await bench.started()) == 2
    await bench.redis.hset(keys.run(second.id), "state", "cancelled")
    await bench.pass_s(firing.LONGEST_REST_MS * 40 / 1000)
    history = await bench.history(one)
    assert ("skipped", 2) in history
    assert [n for outcome, n in history if outcome == "started"][:2] == [0, 1]


# --- what was missed ------------------------------------------------------------------------------


async def test_what_was_missed_is_skipped_made_up_for_once_or_made_up_for(bench: Bench) -> None:
    """After an hour without a scheduler; each moment is told once, whatever became of it."""
    every = {"every_s": 60, "overlap": "skip"}
    skipped = await bench.make(missed="skip", **every)
    once = await bench.make(missed="once", **every)
    every["overlap"] = "queue"
    newest = await bench.make(missed="all", missed_max=5, **every)
    await bench.pass_s(3630)

    counts = [(await bench.now(one)).counts for one in (skipped, once, newest)]
    assert [(one.started, one.missed) for one in counts] == [(0, 60), (1, 59), (1, 55)]
    assert (await bench.now(newest)).waiting == 4
    (row,) = await bench.schedules.history("acme", skipped.id, limit=9)
    assert (row.fire_ms, row.count) == (skipped.next_fire_ms, 60)
    assert row.until_ms == (skipped.next_fire_ms or 0) + 59 * 60_000


async def test_a_short_absence_misses_nothing(bench: Bench) -> None:
    """What is at most ten seconds late is on time, whatever the policy."""
    one = await bench.make(missed="skip", overlap="queue")
    await bench.pass_s(9)
    assert (await bench.now(one)).waiting == 8
    for _ in range(8):
        await bench.end_all()
        await bench.pass_s(0)
    assert await bench.history(one) == [("started", n) for n in range(9)]


async def test_a_clock_that_jumps_fires_nothing_twice(bench: Bench) -> None:
    """Back: nothing until the next moment comes again. Forth: an absence."""
    one = await bench.make(missed="skip", overlap="queue")
    await bench.pass_s(1)
    await bench.pass_s(-3_600)
    for _ in range(3):
        await bench.pass_s(1)
    assert len(await bench.started()) == 1
    await bench.pass_s(3_600 + 86_400)
    shown = await bench.now(one)
    assert shown.counts.started + shown.counts.missed + shown.waiting >= 86_400 - 1
    assert len(await bench.started()) == 1


async def test_a_year_of_seconds_is_passed_over_at_once(bench: Bench) -> None:
    """What cannot be counted is told as such; the next moment is one to come."""
    one = await bench.make(cron="* * * * * *", missed="all", missed_max=3)
    await bench.pass_s(31_536_000)
    shown = await bench.now(one)
    assert (shown.next_fire_ms or 0) > bench.at_ms
    rows = await bench.schedules.history("acme", one.id, limit=9)
    assert rows[-1].reason == "uncounted"
    assert shown.waiting + shown.counts.started - 3 in {10, 11}  # those on time
