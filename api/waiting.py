"""Waiting for the end of a run inside a request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from api.services import Services
from core.errors import Unavailable
from runs.model import RunRecord


async def wait_for_end(services: Services, record: RunRecord, wait_s: float) -> RunRecord:
    """
    Give the run's record when it ends or after `wait_s` seconds, whichever comes first.

    A process that was told to stop answers at once. When the store goes away meanwhile, the
    record is given as it was: the run is accepted, and an error would deny it.
    """
    await _first(services.wakeups.wait(record.id, wait_s), services.draining.wait())
    try:
        return await services.store.get(record.tenant, record.id, raw_result=True)
    except Unavailable:
        return record


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
