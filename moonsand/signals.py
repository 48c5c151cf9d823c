"""Being told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


def stop_signal() -> asyncio.Event:
    """
    Give an event that SIGINT or SIGTERM sets, instead of breaking off what runs.

    The second SIGINT breaks off: somebody does not want to wait.
    """
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        event.set()
        loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return event


async def until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """
    Do `work` to its end, or until SIGINT or SIGTERM, which cancels it and lets it clean up.

    Returns:
        Whether it came to its end.
    """
    stopped = asyncio.create_task(stop_signal().wait())
    task = asyncio.create_task(work)
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return False
