"""Waiting for the end of a run inside a request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from api.services import Services
from runs.model import RunRecord


async def wait_for_end(services: Services, record: RunRecord, wait_s: float) -> RunRecord:
    """
    Give the run's record when it ends or after `wait_s` seconds, whichever comes first.

    A process that was told to stop answers at once with the record as it is.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while not record.status.terminal:
        left_s = deadline - loop.time()
        if left_s <= 0 or services.draining.is_set():
            break
        await _first(services.wakeups.wait(record.id, left_s), services.draining.wait())
        record = await services.store.get(record.tenant, record.id)
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
