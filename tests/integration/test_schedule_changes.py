"""Schedules are made, changed, paused and deleted whole, by their own tenant, within its bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Conflict, Invalid, NotFound, QuotaExceeded
from tenancy.keys import KeyStore
from tests.firing_bench import Bench, Dying
from triggers import schedule_store
from triggers.schedule_store import ScheduleStore
from triggers.schedules import ScheduleChange, ScheduleState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(redis_async: Redis) -> Bench:
    """All that, over an empty Redis."""
    return await Bench.open(redis_async)


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
