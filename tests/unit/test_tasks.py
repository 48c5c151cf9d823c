"""Ending tasks for certain, also those that swallow a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from core.tasks import end_tasks


async def stubborn(times: int) -> None:
    """Swallow so many cancellations, then obey."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    await asyncio.Event().wait()


async def broken() -> None:
    """Raise at once."""
    raise RuntimeError("broken")


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_a_task_that_swallows_cancellations_ends(times: int) -> None:
    """It is cancelled as often as it takes."""
    task = asyncio.create_task(stubborn(times))
    await asyncio.sleep(0)

    await end_tasks(task)

    assert task.cancelled()


async def test_what_a_task_raised_is_its_own_affair() -> None:
    """A failed task is as ended as any."""
    task = asyncio.create_task(broken())

    await end_tasks(task, asyncio.create_task(stubborn(0)))

    assert task.done()


async def test_no_tasks_are_ended_at_once() -> None:
    """Nothing to end is no error."""
    await end_tasks()
