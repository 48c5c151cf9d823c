"""
What Mux said of an asset, kept until it is done: a job for each event.

Runs in: api, scheduler. Trusts: that events were verified; Redis. Refuses: nothing.
May import: stdlib, redis, orjson, structlog, core, runs, triggers.

An event is kept before it is answered, and its run is submitted at once. A run that fails is tried
again for a day. When an asset is deleted while a cycle of a sync is under way, that cycle may have
listed the asset before and make its object after the run of the event looked: so a second run
looks when those cycles are over.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

import orjson
import structlog

from core import keys
from core.clock import Clock, now_ms
from core.errors import NotFound, Refused, Unavailable
from core.ids import new_id
from runs.model import RunRecord, State
from runs.redis_scripts import Arg, load
from runs.store import ID_PREFIX, RunStore
from triggers.kept import redis_or_unavailable
from triggers.mux_mixpeek.connections import Connections
from triggers.mux_mixpeek.model import JOB, Connection
from triggers.mux_mixpeek.syncs import Syncs
from triggers.mux_mixpeek.work import Event, Workshop, asset_of
from triggers.starting import KeyUnfit

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Seconds an event is remembered: longer than Mux sends one again.
KEPT_S = 3 * 86_400
#: Milliseconds for which a failed run is tried again.
TRIED_MS = 86_400_000
_LOOK_MS = 1_000
_FIRST_PAUSE_MS = 10_000
_MOST_PAUSE_MS = 3_600_000
_TAKEN_MS = 30_000
_MOST_TAKEN = 64


@dataclass(frozen=True, slots=True)
class Job:
    """
    One event that is worked on. `deleted` counts objects so far; `waits` are cycles, `sync|run`.

    `done` tells that nothing more will happen.
    """

    id: str
    tenant: str
    connection_id: str
    event: Event
    asset_id: str
    run: str
    waits: tuple[str, ...]
    tries: int
    deleted: int
    created_ms: int
    done: bool


class Jobs:
    """The jobs of all connections. Owns nothing."""

    def __init__(  # noqa: PLR0913, PLR0917 (what it works with, each once)
        self,
        redis: Redis,
        connections: Connections,
        syncs: Syncs,
        store: RunStore,
        workshop: Workshop,
        clock: Clock = now_ms,
    ) -> None:
        self._redis = redis
        self._connections = connections
        self._syncs = syncs
        self._store = store
        self._workshop = workshop
        self._clock = clock

    async def take(
        self, connection: Connection, event: Event, asset_id: str, event_id: str
    ) -> tuple[Job, bool]:
        """
        Keep an event and submit its run; an event that came before is not done again.

        Returns:
            Its job, and whether it is new.

        Raises:
            Unavailable: Redis did not confirm; the event may have been kept all the same.
        """
        job_id, now = new_id(JOB), self._clock()
        digest = hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()
        fields: dict[str, Arg] = {
            "tenant": connection.tenant,
            "connection": connection.id,
            "event": event,
            "asset": asset_id,
            "run": new_id(ID_PREFIX),
            "waits": orjson.dumps(await self._under_way(connection)),
            "created_ms": now,
        }
        args: list[Arg] = [connection.id, digest, job_id, now + _LOOK_MS, KEPT_S]
        args += [part for pair in fields.items() for part in pair]
        async with redis_or_unavailable("the events"):
            kept = (await load("mux_event").run_async(self._redis, args)).decode()
        job = await self.get(kept)
        if job is None:  # the same event came three days ago, and is being forgotten now
            raise Unavailable("this event is being forgotten", hint="send it again")
        if kept == job_id:
            await self._submit(job, connection)
        return job, kept == job_id

    async def get(self, job_id: str) -> Job | None:
        """Give a job; None when it is no longer kept."""
        async with redis_or_unavailable("the events"):
            found = await cast("Any", self._redis.hgetall(keys.mux_job(job_id)))
        return _job(job_id, found) if found else None

    async def record(self, job: Job) -> RunRecord | None:
        """Give the run of a job; None when it was not submitted, or is no longer kept."""
        try:
            return await self._store.get(job.tenant, job.run)
        except NotFound:
            return None

    async def take_due(self) -> list[str]:
        """Give the jobs that are due, and to nobody else for half a minute."""
        args: list[Arg] = [keys.MUX_JOBS, self._clock(), _TAKEN_MS, _MOST_TAKEN]
        found = await load("sync_take").run_async(self._redis, args)
        return [one.decode() for one in found]

    async def next_due_ms(self) -> int | None:
        """Give the Unix millisecond at which the first job is due."""
        found = await cast("Any", self._redis.zrange(keys.MUX_JOBS, 0, 0, withscores=True))
        return int(found[0][1]) if found else None

    async def look(self, job_id: str) -> None:
        """
        Do what is due of a job: submit its run, or take what the run came to.

        Raises:
            Unavailable: Redis did not confirm something; look again.
        """
        job = await self.get(job_id)
        connection = None if job is None else await self._connections.find(job.connection_id)
        if job is None or connection is None or job.done:
            await cast("Any", self._redis.zrem(keys.MUX_JOBS, job_id))
            return
        record = await self.record(job)
        if record is None:
            await self._submit(job, connection)
        elif not record.status.terminal:
            await self._look_later(job, _LOOK_MS)
        elif record.status is not State.SUCCEEDED:
            problem = record.error.message if record.error else f"the run ended: {record.reason}"
            await self._failed(job, problem)
        elif job.waits:
            await self._after_cycles(job, deleted_objects(record))
        else:
            await self._go_on(job, "", deleted_objects(record))

    # --- parts ---------------------------------------------------------------------------------

    async def _under_way(self, connection: Connection) -> list[str]:
        syncs = await self._syncs.of_connection(connection.tenant, connection.id)
        return [f"{one.id}|{one.run}" for one in syncs if one.run]

    async def _submit(self, job: Job, connection: Connection) -> None:
        syncs = await self._syncs.of_connection(connection.tenant, connection.id)
        if not syncs:
            await self._go_on(job, "", 0)
            return
        if not connection.is_active:
            await self._failed(job, "the connection is suspended")
            return
        work = asset_of(connection, job.event, job.asset_id, syncs, job.id)
        problem = ""
        # With the key of whichever sync still has one; after a failure with the next one's first.
        owners = list(dict.fromkeys(one.owner for one in syncs))
        first = job.tries % len(owners)
        for owner in owners[first:] + owners[:first]:
            try:
                await self._workshop.start(job.tenant, work, owner=owner, run_id=job.run)
            except KeyUnfit as error:
                problem = error.detail
            except Refused as error:
                problem = error.detail
                break
            else:
                return
        await self._failed(job, problem)

    async def _after_cycles(self, job: Job, deleted: int) -> None:
        for one in job.waits:
            sync_id, _, run = one.partition("|")
            sync = await self._syncs.find(sync_id)
            if sync is not None and sync.run == run:
                await self._look_later(job, _LOOK_MS)
                return
        await self._go_on(job, new_id(ID_PREFIX), deleted, waits=b"[]")

    async def _failed(self, job: Job, problem: str) -> None:
        now = self._clock()
        log = structlog.get_logger(__name__)
        log.warning("mux_event_failed", tenant=job.tenant, job=job.id, run=job.run)
        told = f"{job.event} asset {job.asset_id}: {problem}"
        await self._connections.note(job.connection_id, told[:500])
        if now - job.created_ms > TRIED_MS:
            await self._go_on(job, "", 0, failed=problem[:500])
            return
        pause_ms = min(_MOST_PAUSE_MS, _FIRST_PAUSE_MS << min(job.tries, 10))
        await self._go_on(job, new_id(ID_PREFIX), 0, at_ms=now + pause_ms, tries=job.tries + 1)

    async def _go_on(
        self, job: Job, run: str, deleted: int, at_ms: int | None = None, **fields: Arg
    ) -> None:
        due_ms = self._clock() if at_ms is None else at_ms
        args: list[Arg] = [job.id, job.run, run, due_ms, deleted]
        args += [part for pair in fields.items() for part in pair]
        await load("mux_job_next").run_async(self._redis, args)

    async def _look_later(self, job: Job, pause_ms: int) -> None:
        await cast("Any", self._redis.zadd(keys.MUX_JOBS, {job.id: self._clock() + pause_ms}))


def deleted_objects(record: RunRecord) -> int:
    """Give how many objects a run of an event deleted."""
    found = record.result.get("deleted_objects") if isinstance(record.result, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def _job(job_id: str, fields: dict[bytes, bytes]) -> Job:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    deleted, updated = get_args(Event)
    return Job(
        id=job_id,
        tenant=text["tenant"],
        connection_id=text["connection"],
        event=deleted if text["event"] == deleted else updated,
        asset_id=text["asset"],
        run=text["run"],
        waits=tuple(orjson.loads(text["waits"])),
        tries=int(text.get("tries", 0)),
        deleted=int(text.get("deleted", 0)),
        created_ms=int(text["created_ms"]),
        done=text.get("done") == "1",
    )
