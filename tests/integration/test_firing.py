"""Schedules fire each moment once, whatever dies and whichever clock jumps."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Conflict, Invalid, NotFound, QuotaExceeded, Unavailable
from runs.acceptance import Terms
from runs.cancelling import cancel as cancel_run
from runs.model import RunRecord, State
from runs.origin import Origin, OriginKind
from runs.store import RunStore
from tenancy.grant_store import GrantStore
from tenancy.grants import Grants, GrantSet
from tenancy.keys import KeyStore
from tenancy.scopes import Scope
from tests.deadline import Deadline
from triggers import fire_start, firing, schedule_store
from triggers.firing import RETRY_MS, Firing
from triggers.saved import ScriptDraft, check_draft
from triggers.schedule_record import redis_clock
from triggers.schedule_store import ScheduleStore
from triggers.schedules import Schedule, ScheduleChange, ScheduleDraft, ScheduleState
from triggers.scripts import SavedScripts

pytestmark = pytest.mark.anyio


class Bench:
    """A tenant with a saved script and a key, some schedulers, and a clock of their own."""

    def __init__(self, redis: Redis, key: Any, at_ms: int) -> None:
        self.redis, self.key, self.at_ms = redis, key, at_ms
        self.runs = RunStore(redis)
        self.schedules = ScheduleStore(redis, self.clock)
        self.scripts = SavedScripts(redis)

    @classmethod
    async def open(cls, redis: Redis) -> Bench:
        """Make them."""
        scopes = (Scope.READ, Scope.WRITE)
        _, key = await KeyStore(redis).create("acme", "owner", scopes=scopes)
        bench = cls(redis, key, await redis_clock(redis))
        await bench.save("return input")
        return bench

    async def save(self, script: str, **more: Any) -> None:
        """Save a version of `job`."""
        draft = ScriptDraft(name="job", script=script, **more)
        await self.scripts.save("acme", check_draft(draft), key_id=self.key.id)

    async def make(self, **draft: Any) -> Schedule:
        """Make a schedule; each second, if nothing else is said."""
        if not {"cron", "at", "every_s"} & draft.keys():
            draft["every_s"] = 1
        return await self.schedules.create(
            self.key, ScheduleDraft(**{"script_ref": "job", "overlap": "queue", **draft})
        )

    def scheduler(self, store: RunStore | None = None) -> Firing:
        """Make a scheduler that goes by our clock."""
        return Firing(self.redis, store or self.runs, self.clock)

    async def clock(self) -> int:
        """Give our time."""
        return self.at_ms

    async def pass_s(self, seconds: float, *schedulers: Firing) -> None:
        """Let time pass, then give each scheduler a turn, all at once."""
        self.at_ms += round(seconds * 1000)
        await asyncio.gather(*(one.turn() for one in schedulers or (self.scheduler(),)))

    async def started(self) -> list[RunRecord]:
        """Give all runs, oldest first."""
        runs, _ = await self.runs.page("acme", limit=200)
        return runs[::-1]

    async def end_all(self) -> None:
        """End every run that has not ended."""
        for run in await self.started():
            if not run.status.terminal:
                await cancel_run(self.redis, "acme", run.id)

    async def history(self, one: Schedule) -> list[tuple[str, int]]:
        """Give what came of the fires and how late each moment is after the first, oldest first."""
        rows = await self.schedules.history("acme", one.id, limit=200)
        first = one.next_fire_ms or 0
        return [(str(row.outcome), (row.fire_ms - first) // 1000) for row in reversed(rows)]

    async def now(self, one: Schedule) -> Schedule:
        """Give a schedule as it is."""
        return await self.schedules.get("acme", one.id)


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


# --- what dies ------------------------------------------------------------------------------------


class Dying(RunStore):
    """A store whose process dies as a run is started: before it was, or after."""

    def __init__(self, redis: Redis, *, done: bool) -> None:
        super().__init__(redis)
        self._done = done

    async def submit_checked(self, *args: Any, **named: Any) -> RunRecord:
        """Start it, or do not; tell nobody."""
        if self._done:
            await super().submit_checked(*args, **named)
        raise asyncio.CancelledError


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


# --- who may --------------------------------------------------------------------------------------


async def test_a_key_that_is_gone_suspends_its_schedules(bench: Bench) -> None:
    """Nothing is started; the schedule says why, and goes on as another key's."""
    one = await bench.make()
    await KeyStore(bench.redis).revoke("acme", bench.key.id)
    await bench.pass_s(1)
    shown = await bench.now(one)
    assert (shown.state, shown.next_fire_ms) == (ScheduleState.SUSPENDED, None)
    assert shown.reason == f"the key {bench.key.id} was revoked"
    assert await bench.history(one) == [("failed", 0)]
    await bench.pass_s(60)
    assert await bench.started() == []

    _, other = await KeyStore(bench.redis).create("acme", "other")
    resumed = await bench.schedules.change(other, one.id, ScheduleChange(state="active"))
    assert (resumed.key_id, resumed.reason) == (other.id, None)
    bench.at_ms = resumed.next_fire_ms or 0
    await bench.pass_s(0)
    assert len(await bench.started()) == 1


async def test_a_run_has_what_its_maker_had_and_may_today(bench: Bench) -> None:
    """Grants that the key lost since are lost, and those it was given since are not given."""
    grants = GrantStore(bench.redis)
    await grants.set("acme", bench.key.id, GrantSet.parse(["mux:read", "heygen"]), by="t")
    one = await bench.make()
    await grants.set("acme", bench.key.id, GrantSet.parse(["mux", "convex"]), by="t")
    await bench.pass_s(1)
    (run,) = await bench.started()
    assert run.ceiling == {"key": ["mux", "convex"], "maker": ["mux:read", "heygen"]}
    kept = await bench.redis.hget(keys.run(run.id), "grants")
    whole = Grants.of_json(orjson.loads(kept or b"null"))
    assert whole.allows("mux", "list_assets", "read")
    assert not whole.allows("mux", "create_asset", "write")
    assert not whole.allows("heygen", "list_avatars", "read")
    assert not whole.allows("convex", "query", "read")

    await bench.end_all()
    await bench.schedules.change(bench.key, one.id, ScheduleChange(name="mine"))
    await bench.pass_s(1)
    (*_, last) = await bench.started()
    assert last.ceiling == {whose: ["mux", "convex"] for whose in ("key", "maker")}


async def test_a_script_that_is_gone_suspends_its_schedules(bench: Bench) -> None:
    """A deleted script, or an alias that means nothing any more."""
    await bench.scripts.set_alias("acme", "job", "prod", 1)
    by_alias, by_name = await bench.make(script_ref="job@prod"), await bench.make()
    await bench.scripts.set_alias("acme", "job", "prod", None)
    await bench.pass_s(1)
    assert (await bench.now(by_alias)).reason == "job has no alias prod"
    assert (await bench.now(by_name)).state is ScheduleState.ACTIVE
    await bench.end_all()
    await bench.scripts.delete("acme", "job")
    await bench.pass_s(1)
    assert (await bench.now(by_name)).reason == "there is no saved script job"


async def test_a_ref_means_at_each_fire_what_it_means_then(bench: Bench) -> None:
    """A pinned version stays; an alias follows."""
    await bench.scripts.set_alias("acme", "job", "prod", 1)
    for ref in ("job@1", "job@prod", "job"):
        await bench.make(script_ref=ref)
    await bench.save("return 2")
    await bench.scripts.set_alias("acme", "job", "prod", 2)
    await bench.pass_s(1)
    assert sorted(run.script_ref or "" for run in await bench.started()) == [
        *("job@1", "job@2", "job@2")
    ]


async def test_an_input_that_no_longer_fits_fails_its_fire(bench: Bench) -> None:
    """The schedule goes on: the script may be put right."""
    one = await bench.make(input={"n": "1"})
    await bench.save("return 2", input_schema={"properties": {"n": {"type": "integer"}}})
    await bench.pass_s(1)
    shown = await bench.now(one)
    assert (shown.state, shown.counts.failed) == (ScheduleState.ACTIVE, 1)
    (row,) = await bench.schedules.history("acme", one.id, limit=9)
    assert row.reason == '/input/n: "1" is not of type "integer"'


# --- making and changing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draft", "pointer"),
    [
        ({"every_s": 0}, "/every_s"),
        ({"every_s": 10**9}, "/every_s"),
        ({"cron": "0 0 30 2 *"}, "/cron"),
        ({"cron": "* * *"}, "/cron"),
        ({"cron": "@daily", "time_zone": "Mars/Olympus"}, "/time_zone"),
        ({"cron": "@daily", "every_s": 5}, "/every_s"),
        ({"at": "2020-01-01T00:00:00Z"}, "/at"),
        ({"at": "tomorrow"}, "/at"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "/at"),
        ({"every_s": 1, "script_ref": "nobody"}, "/script_ref"),
        ({"every_s": 1, "script_ref": "a/b"}, "/script_ref"),
        ({"every_s": 1, "limits": {"calls": -1}}, "/limits/calls"),
        ({"every_s": 1, "grants": ["mux:nothing"]}, "/grants/0"),
        ({"every_s": 1, "name": "a\nb"}, "/name"),
    ],
)
async def test_what_cannot_be_started_is_not_kept(
    bench: Bench, draft: dict[str, Any], pointer: str
) -> None:
    """Said at once, with where it is wrong; nothing is kept."""
    with pytest.raises(Invalid) as wrong:
        await bench.make(**draft)
    assert wrong.value.pointer == pointer
    assert await bench.schedules.page("acme", cursor=None, limit=9) == ([], None)


async def test_once_is_once(bench: Bench) -> None:
    """One that has fired is done, and can be given another moment."""
    at = "2099-01-01T12:00:00"
    one = await bench.make(at=at, time_zone="Europe/Berlin")
    assert one.next_fire_ms == 4070948400000
    bench.at_ms = one.next_fire_ms
    await bench.pass_s(0)
    shown = await bench.now(one)
    assert (shown.state, shown.next_fire_ms, shown.counts.started) == (ScheduleState.DONE, None, 1)
    with pytest.raises(Conflict):
        await bench.schedules.change(bench.key, one.id, ScheduleChange(state="active"))
    again = await bench.schedules.change(bench.key, one.id, ScheduleChange(every_s=60))
    assert (again.state, again.at, again.every_s) == (ScheduleState.ACTIVE, None, 60)


async def test_a_pause_is_no_absence(bench: Bench) -> None:
    """Paused, it fires nothing; resumed, it goes on from then, in its rhythm."""
    one = await bench.make(missed="all")
    await bench.pass_s(1)
    await bench.end_all()
    paused = await bench.schedules.change(bench.key, one.id, ScheduleChange(state="paused"))
    assert (paused.state, paused.next_fire_ms) == (ScheduleState.PAUSED, None)
    await bench.pass_s(100)
    assert len(await bench.started()) == 1
    resumed = await bench.schedules.change(bench.key, one.id, ScheduleChange(state="active"))
    assert ((resumed.next_fire_ms or 0) - (one.next_fire_ms or 0)) % 1000 == 0
    assert resumed.counts.missed == 0


async def test_a_change_and_a_fire_do_not_undo_each_other(bench: Bench) -> None:
    """A scheduler that read a schedule before it was changed fires nothing of it."""
    one = await bench.make()
    bench.at_ms += 1000
    changes = [
        bench.schedules.change(bench.key, one.id, ScheduleChange(name=f"n{n}")) for n in "ab"
    ]
    await asyncio.gather(*changes, *(bench.scheduler().turn() for _ in range(4)))
    await bench.pass_s(0)
    assert await bench.history(one) == [("started", 0)]


@pytest.mark.parametrize("timing", [{"every_s": 1}, {"at": "2099-01-01T12:00:00"}])
async def test_a_fire_in_the_middle_of_a_change_stays_fired(
    bench: Bench, timing: dict[str, Any]
) -> None:
    """Who changes a schedule has read it before: its moment is not put back."""
    one = await bench.make(**timing)
    bench.at_ms = one.next_fire_ms or 0
    fires = [bench.scheduler()]

    async def clock() -> int:
        if fires:
            await fires.pop().turn()
        return bench.at_ms

    await ScheduleStore(bench.redis, clock).change(bench.key, one.id, ScheduleChange(name="new"))

    await bench.end_all()
    await bench.pass_s(0)
    shown = await bench.now(one)
    assert (shown.name, shown.counts.started) == ("new", 1)
    assert await bench.history(one) == [("started", 0)]
    assert shown.state is (ScheduleState.ACTIVE if "every_s" in timing else ScheduleState.DONE)


async def test_another_tenants_schedule_is_no_schedule(bench: Bench) -> None:
    """Nothing of it is shown, changed or deleted."""
    one = await bench.make()
    _, foreign = await KeyStore(bench.redis).create("other", "foreign")
    for ask in (
        bench.schedules.get("other", one.id),
        bench.schedules.history("other", one.id, limit=1),
        bench.schedules.change(foreign, one.id, ScheduleChange(state="paused")),
        bench.schedules.delete(foreign, one.id),
    ):
        with pytest.raises(NotFound):
            await ask
    assert await bench.schedules.page("other", cursor=None, limit=9) == ([], None)


async def test_what_is_deleted_leaves_nothing(bench: Bench) -> None:
    """No key, no place in a line, nothing of its rate; a begun fire is not started."""
    one = await bench.make(overlap="queue")
    for _ in range(3):
        await bench.pass_s(1)
    two = await bench.make()
    with pytest.raises(asyncio.CancelledError):
        await bench.pass_s(2, bench.scheduler(Dying(bench.redis, done=False)))
    for schedule in (one, two):
        await bench.schedules.delete(bench.key, schedule.id)
    left = [key for key in await bench.redis.keys("ms:schedule*") if b"-rate:" not in key]
    assert left == []
    assert await bench.redis.get(keys.schedule_rate("acme")) == b"0"
    runs = len(await bench.started())
    await bench.pass_s(60)
    assert len(await bench.started()) == runs


async def test_a_tenant_has_so_many_schedules_and_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds on their number, and on how often they fire together."""
    monkeypatch.setattr(schedule_store, "MAX_FIRES_PER_MINUTE", 90)
    await bench.make(every_s=1)
    with pytest.raises(QuotaExceeded):
        await bench.make(cron="*/1 * * * * *")
    two = await bench.make(cron="*/2 * * * * *")
    with pytest.raises(QuotaExceeded):
        await bench.schedules.change(bench.key, two.id, ScheduleChange(every_s=1))
    monkeypatch.setattr(schedule_store, "MAX_SCHEDULES", 2)
    with pytest.raises(QuotaExceeded):
        await bench.make(every_s=86_400)


async def test_every_change_is_told_to_the_ledger(bench: Bench) -> None:
    """By id and key alone: no name, no script."""
    one = await bench.make(name="secret plan")
    await bench.schedules.change(bench.key, one.id, ScheduleChange(state="paused"))
    await bench.schedules.delete(bench.key, one.id)
    rows: Any = await bench.redis.xrange(keys.LEDGER_INBOX)
    leaves = [orjson.loads(fields[b"leaf"]) for _, fields in rows]
    mine = [leaf for leaf in leaves if leaf["kind"] == "schedule.changed"]
    assert [leaf["change"] for leaf in mine] == ["created", "changed", "deleted"]
    assert {(leaf["id"], leaf["by"], leaf["tenant"]) for leaf in mine} == {
        (one.id, bench.key.id, "acme")
    }
    assert "secret" not in str(mine)


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
