"""Ending asyncio tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any

_AGAIN_S = 0.5


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """
    Cancel tasks and wait until each has ended, in whatever way.

    One `cancel()` is not enough: in Python 3.11 `asyncio.wait_for`, which redis-py uses for every
    command, loses a cancellation that comes in the moment in which its own future is done.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
    # Whatever they raised was theirs; taken, or asyncio complains of it.
    await asyncio.gather(*tasks, return_exceptions=True)
