"""A schedule of each second, with real schedulers and workers that are killed and started anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from core import keys
from core.redis_client import connect_async
from runs.model import State
from runs.store import RunStore
from tenancy.keys import KeyStore
from tests.deadline import Deadline
from tests.scheduler_process import running_scheduler
from tests.worker_processes import running_worker
from triggers.saved import ScriptDraft, check_draft
from triggers.schedule_store import ScheduleStore
from triggers.schedules import Schedule, ScheduleDraft
from triggers.scripts import SavedScripts

pytestmark = [pytest.mark.anyio, pytest.mark.jail]
ROOT = Path(__file__).parents[2]


async def make(client: redis.asyncio.Redis, **draft: Any) -> Schedule:
    """Save a script, and start it each second."""
    _, key = await KeyStore(client).create("acme", "owner")
    checked = check_draft(ScriptDraft(name="tick", script="return 1"))
    await SavedScripts(client).save("acme", checked, key_id=key.id)
    given = {"script_ref": "tick", "every_s": 1, "overlap": "queue", "missed": "all", **draft}
    return await ScheduleStore(client).create(key, ScheduleDraft(**given))


async def fired(client: redis.asyncio.Redis, one: Schedule, count: int) -> None:
    """Wait until so many fires were told of."""

    async def enough() -> bool:
        shown = await ScheduleStore(client).get("acme", one.id)
        return shown.counts.started >= count

    await Deadline().reached(enough, f"{count} fires", seconds=30)


async def account(client: redis.asyncio.Redis, one: Schedule) -> None:
    """Hold every moment so far to one fire, and every fire to one run that succeeded."""
    store = ScheduleStore(client)
    rows = (await store.history("acme", one.id, limit=200))[::-1]
    first = one.next_fire_ms or 0
    assert [row.fire_ms for row in rows] == [first + 1000 * n for n in range(len(rows))]
    assert {row.outcome for row in rows} == {"started"}
    runs = [row.run or "" for row in rows]
    assert len(set(runs)) == len(runs)
    for run in runs:
        record = await RunStore(client).get("acme", run)
        assert (record.status, record.origin and record.origin.id) == (State.SUCCEEDED, one.id)
    listed, _ = await RunStore(client).page("acme", limit=200)
    assert {record.id for record in listed} >= set(runs)


async def settled(client: redis.asyncio.Redis) -> None:
    """Wait until no fire is begun or waits, and no run goes on."""

    async def quiet() -> bool:
        waiting = await client.zcard(keys.SCHEDULES_HELD)  # first: from 0 on none of it begins
        waiting += await client.zcard(keys.SCHEDULES_STARTING)
        listed, _ = await RunStore(client).page("acme", limit=200)
        return not waiting and all(record.status.terminal for record in listed)

    await Deadline().reached(quiet, "the end of all runs", seconds=30)


async def test_each_second_is_fired_once_while_schedulers_and_workers_die(redis_url: str) -> None:
    """Killed schedulers, a killed worker and one that is started anew: one run a second, each."""
    async with connect_async(redis_url) as client:
        one = await make(client)
        with running_worker(redis_url) as worker:
            with running_scheduler(redis_url) as first:
                await fired(client, one, 2)
                first.kill()
                first.wait(10)
            with running_scheduler(redis_url), running_scheduler(redis_url) as third:
                await fired(client, one, 5)
                worker.kill()
                third.kill()
                with running_worker(redis_url) as fourth:
                    await fired(client, one, 9)
                    assert fourth.stop() == 0
                with running_worker(redis_url):
                    await fired(client, one, 12)
                    # Nothing more is due from here on; what is under way ends.
                    shown = await ScheduleStore(client).get("acme", one.id)
                    record: Any = client
                    await record.hset(keys.schedule(one.id), "state", "done")
                    await client.zrem(keys.SCHEDULES_DUE, f"acme|{one.id}")
                    assert shown.counts.skipped == shown.counts.missed == shown.counts.failed == 0
                    await settled(client)
        await account(client, one)
