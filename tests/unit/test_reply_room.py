"""Replies of one run never take more room together than there is, and everybody gets a turn."""

from __future__ import annotations

import asyncio
import random

import pytest

from sandbox.reply_room import ReplyRoom

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seed", range(10))
async def test_the_sum_is_bounded_and_the_first_come_first(seed: int) -> None:
    """However large the replies, what is held stays under the bound; nobody overtakes."""
    chance = random.Random(seed)  # noqa: S311
    room = ReplyRoom(largest=10, most=35)
    held, most_held, order = 0, 0, []

    async def call(number: int, size: int) -> None:
        nonlocal held, most_held
        await room.enter()
        order.append(number)
        held += 10
        most_held = max(most_held, held)
        await asyncio.sleep(0)
        held -= 10 - size
        room.keep(size)
        for _ in range(chance.randint(0, 5)):
            await asyncio.sleep(0)
        held -= size
        room.leave(size)

    await asyncio.gather(*(call(number, chance.randint(0, 10)) for number in range(64)))

    assert order == list(range(64))
    assert 10 < most_held <= 35
    assert held == 0


async def test_one_reply_always_finds_room() -> None:
    """A run that allows larger replies than the bound still gets them, one after the other."""
    room = ReplyRoom(largest=50, most=10)
    await room.enter()
    second = asyncio.ensure_future(room.enter())
    await asyncio.sleep(0)
    assert not second.done()
    room.keep(50)
    room.leave(50)
    await second


@pytest.mark.parametrize("when", ["before", "at once", "after"])
async def test_who_goes_while_waiting_takes_nothing(when: str) -> None:
    """A call that is cancelled about when it gets its turn leaves the room as it was."""
    room = ReplyRoom(largest=10, most=10)
    await room.enter()
    leaving, staying = asyncio.ensure_future(room.enter()), asyncio.ensure_future(room.enter())
    await asyncio.sleep(0)
    if when == "after":
        room.leave(10)
    leaving.cancel()
    if when == "before":
        await asyncio.sleep(0)
    if when != "after":
        room.leave(10)
    await staying
    assert leaving.cancelled()
