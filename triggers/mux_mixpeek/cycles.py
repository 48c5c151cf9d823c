"""
Cycles of syncs: when one begins, what its run came to, and when the next one is due.

Runs in: api, scheduler. Trusts: Redis, the results of its own scripts only as far as their shape.
Refuses: nothing. May import: stdlib, structlog, core, runs, triggers.

A cycle is one run, or several one after another when the library is large: each says where the
next one goes on. The run's id is kept before the run is submitted, so that whoever comes after a
crash submits the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from core.clock import Clock, now_ms
from core.errors import NotFound, QuotaExceeded, Refused
from core.ids import new_id
from runs.model import RunRecord, State
from runs.store import ID_PREFIX, RunStore
from triggers.mux_mixpeek.connections import Connections
from triggers.mux_mixpeek.model import COUNTERS, Connection, Status, Sync
from triggers.mux_mixpeek.syncs import Syncs
from triggers.mux_mixpeek.work import Work, Workshop, cycle_of

#: Cycles of a sync with `initial_only` that may fail, one after another, before it is given up.
MOST_TRIES = 5
_MOST_PAUSE_MS = 3_600_000
_MAX_ERROR_CHARS = 500


class Cycles:
    """Begins and ends cycles. Owns nothing."""

    def __init__(
        self,
        syncs: Syncs,
        connections: Connections,
        store: RunStore,
        workshop: Workshop,
        clock: Clock = now_ms,
    ) -> None:
        self._syncs = syncs
        self._connections = connections
        self._store = store
        self._workshop = workshop
        self._clock = clock

    async def look(self, sync_id: str) -> None:
        """
        Do what is due of a sync: begin a cycle, or take what its run came to.

        Raises:
            Unavailable: Redis did not confirm something; look again.
        """
        sync = await self._syncs.find(sync_id)
        if sync is None:
            await self._syncs.begin(sync_id, "")  # takes it off the list
            return
        record = await self._record(sync)
        if record is None:
            await self.begin(sync)
        elif record.status.terminal:
            await self._take(sync, record)
        else:
            await self._syncs.look_at(sync.id, self._clock() + 1_000)

    async def begin(self, sync: Sync) -> str | None:
        """
        Begin a cycle, or submit the run of one that was begun and not submitted.

        Returns:
            The run that carries the cycle; None when it has to wait, the sync is off, or the run
            is not taken, which the sync then says in `last_error`.

        Raises:
            Unavailable: Redis did not confirm.
        """
        connection = await self._connections.find(sync.config.connection_id)
        run_id = await self._syncs.begin(sync.id, new_id(ID_PREFIX))
        if not run_id:
            return None
        try:
            work = _work(sync, connection)
            await self._workshop.start(sync.tenant, work, owner=sync.owner, run_id=run_id)
        except QuotaExceeded as error:
            await self._failed(sync, run_id, error.detail, pause_ms=error.retry_after_s * 1000)
            return None
        except Refused as error:
            await self._failed(sync, run_id, error.detail)
            return None
        return run_id

    # --- parts ---------------------------------------------------------------------------------

    async def _record(self, sync: Sync) -> RunRecord | None:
        if sync.run is None:
            return None
        try:
            return await self._store.get(sync.tenant, sync.run)
        except NotFound:
            return None

    async def _take(self, sync: Sync, record: RunRecord) -> None:
        result = record.result
        if record.status is not State.SUCCEEDED or not isinstance(result, dict):
            problem = record.error.message if record.error else f"the run ended: {record.reason}"
            await self._failed(sync, record.id, problem)
            return
        now = self._clock()
        counts = {name: _count(result, name) for name in COUNTERS}
        following = result.get("next")
        failed = sync.failing or counts["failed"] > 0
        fields: dict[str, str | bytes | int] = {
            "next": b"" if following is None else orjson.dumps(following),
            "last_ms": now,
            "cycles": sync.cycles + (following is None),
            # Of all runs of the cycle: one that goes well does not undo the failure before it.
            "failing": "1" if failed and following is not None else "",
            "last_error": _first_failure(result) or (sync.last_error or "" if failed else ""),
        }
        if following is None:
            fields["failures"] = sync.failures + 1 if failed else 0
        due_ms: int | None = now + sync.config.polling_interval_seconds * 1000
        if following is not None:
            due_ms = now
        elif sync.config.sync_mode == "initial_only":
            over = not failed or sync.failures + 1 >= MOST_TRIES
            due_ms = None if over else now + self._pause_ms(sync)
            if over:
                fields["status"] = (Status.FAILED if failed else Status.COMPLETED).value
        if await self._syncs.end(sync.id, record.id, due_ms, counts, fields):
            await self._connections.note(sync.config.connection_id, "")

    async def _failed(
        self, sync: Sync, run_id: str, problem: str, pause_ms: int | None = None
    ) -> None:
        fields: dict[str, str | bytes | int] = {
            "last_error": problem[:_MAX_ERROR_CHARS],
            "failing": "",
            # A used-up quota is no failure of the sync's: it waits, however often.
            "failures": sync.failures + (pause_ms is None),
            # From the beginning again: what was done is found done, and a cursor may be stale.
            "next": b"",
        }
        due_ms: int | None = self._clock() + (pause_ms or self._pause_ms(sync))
        given_up = pause_ms is None and sync.failures + 1 >= MOST_TRIES
        if sync.config.sync_mode == "initial_only" and given_up:
            due_ms, fields["status"] = None, Status.FAILED.value
        if await self._syncs.end(sync.id, run_id, due_ms, {}, fields):
            await self._connections.note(sync.config.connection_id, problem[:_MAX_ERROR_CHARS])

    @staticmethod
    def _pause_ms(sync: Sync) -> int:
        interval_ms = sync.config.polling_interval_seconds * 1000
        return min(_MOST_PAUSE_MS, interval_ms << min(sync.failures, 8))


def _work(sync: Sync, connection: Connection | None) -> Work:
    if connection is None or connection.tenant != sync.tenant:
        raise NotFound("the connection of this sync is gone")
    if not connection.is_active:
        raise NotFound("the connection of this sync is suspended")
    return cycle_of(sync, connection)


def _count(result: Mapping[str, Any], name: str) -> int:
    found = result.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def _first_failure(result: Mapping[str, Any]) -> str:
    failures = result.get("failures")
    if isinstance(failures, list) and failures and isinstance(failures[0], dict):
        one = failures[0]
        return f"asset {one.get('asset_id')}: {one.get('message')}"[:_MAX_ERROR_CHARS]
    return ""
