"""Schedules of one tenant that are fired in this process, by a clock that the test sets."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

from runs.cancelling import cancel as cancel_run
from runs.model import RunRecord
from runs.store import RunStore
from tenancy.keys import KeyStore
from tenancy.scopes import Scope
from triggers.firing import Firing
from triggers.saved import ScriptDraft, check_draft
from triggers.schedule_record import redis_clock
from triggers.schedule_store import ScheduleStore
from triggers.schedules import Schedule, ScheduleDraft
from triggers.scripts import SavedScripts


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
