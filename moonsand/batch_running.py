"""
Running a file of jobs as one batch: begun, filled and followed, whatever breaks off in between.

Each step can be done again: the batch is begun with a key that was written down before, items are
sent from where the service has them, and following changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    QuotaExceeded,
    Refused,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from moonsand.batch_client import BatchClient
from moonsand.batch_jobs import Jobs
from moonsand.batch_resuming import Remembered
from moonsand.batch_view import View
from moonsand.terminal import write_error
from runs.batches.model import BatchRecord

_LOOK_S = 0.5
#: A service that cannot be reached is asked again, in about a minute altogether.
_TRIES = 12
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0


class BatchRun:
    """One file of jobs on its way; `terms` are those of its batch."""

    def __init__(self, jobs: Jobs, terms: Mapping[str, Any], remembered: Remembered) -> None:
        self.jobs = jobs
        self._terms = terms
        self._remembered = remembered
        self._record: BatchRecord | None = None

    async def to_its_end(self, client: BatchClient, view: View) -> BatchRecord:
        """
        Begin the batch or go on with it, and follow it until it has ended.

        Raises:
            Refused: the service does not take it. Unavailable: it could not be reached for long.
            UsageFault: the file cannot be read any more.
        """
        try:
            return await self._followed(client, view)
        except NotFound:
            self._remembered.forget()  # it has expired; the same command begins another one
            raise
        except (QuotaExceeded, Unauthenticated, Forbidden):
            raise  # the same command may go on later
        except Refused:
            await self._give_up(client)
            raise

    async def _followed(self, client: BatchClient, view: View) -> BatchRecord:
        key = self._remembered.key
        record = await _patiently(partial(client.create, self._terms, idempotency_key=key))
        if self._remembered.found:
            write_error(f"going on with {record.id}; --new runs the file again")
        self._show(view, record)
        while record.sealed_ms is None and not record.status.terminal:
            try:
                record = await self._fill(client, view, record)
            except (Conflict, Unavailable):  # an answer was lost: it may have more than we know
                await asyncio.sleep(_LOOK_S)
                record = await _patiently(partial(client.get, record.id))
        while not record.status.terminal:
            self._show(view, record)
            await asyncio.sleep(_LOOK_S)
            record = await _patiently(partial(client.get, record.id))
        self._show(view, record)
        return record

    async def _give_up(self, client: BatchClient) -> None:
        """Leave nothing of a batch that will never start: something in it is wrong."""
        self._remembered.forget()
        if self._record is not None and self._record.sealed_ms is None:
            with suppress(ServiceError):  # it expires by itself
                await client.cancel(self._record.id)

    def how_to_go_on(self) -> str:
        """Tell what became of it, for who has broken it off."""
        record = self._record
        if record is None:
            return "nothing was begun"
        if record.sealed_ms is None:
            return (
                f"{record.counts.received} of {self.jobs.count} items of {record.id} are uploaded,"
                " and nothing runs; the same command goes on"
            )
        return (
            f"{record.id} goes on; the same command follows it,"
            f" `moonsand batch cancel {record.id}` ends it"
        )

    def ended(self) -> BatchRecord:
        """Give the batch, which has ended; the same command then begins another one."""
        assert self._record is not None  # noqa: S101 (it has come to its end)
        self._remembered.forget()
        return self._record

    async def _fill(self, client: BatchClient, view: View, record: BatchRecord) -> BatchRecord:
        total = self.jobs.count
        if record.counts.received >= total:
            return await client.add_items(record.id, record.counts.received, [])
        for first, piece in self.jobs.pieces(record.counts.received):
            last = first + len(piece) == total
            try:
                record = await client.add_items(record.id, first, piece, last=last)
            except Refused as refused:
                refused.detail = self.jobs.in_file(refused.detail, first)
                raise
            self._show(view, record)
        return record

    def _show(self, view: View, record: BatchRecord) -> None:
        self._record = record
        view.show(record, self.jobs.count)


async def _patiently(ask: Callable[[], Awaitable[BatchRecord]]) -> BatchRecord:
    pause_s = _PAUSE_S
    for _ in range(_TRIES):
        try:
            return await ask()
        except Unavailable:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return await ask()
