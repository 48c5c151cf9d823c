"""Replies leave in the order of their effects, whole, whoever comes first."""

from __future__ import annotations

import asyncio
import random

import pytest

from sandbox.delivery import Delivery

pytestmark = pytest.mark.anyio


class Wire:
    """Takes frames, each in two parts with a pause between them."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, bytes]] = []

    async def send(self, seq: int, frame: bytes) -> None:
        self.parts.append((seq, frame[:1]))
        await asyncio.sleep(0)
        self.parts.append((seq, frame[1:]))


@pytest.mark.parametrize("seed", range(20))
async def test_any_order_of_coming_leaves_in_the_order_of_effects(seed: int) -> None:
    """Answers that come in any order are sent in the order on the tape, and never mixed."""
    wire = Wire()
    delivery = Delivery(wire.send)
    orders = list(range(1, 31))
    random.Random(seed).shuffle(orders)  # noqa: S311

    await asyncio.gather(*(delivery.deliver(order + 100, order, b"frame") for order in orders))

    expected = [(order + 100, part) for order in range(1, 31) for part in (b"f", b"rame")]
    assert wire.parts == expected


async def test_a_reply_waits_for_the_one_before_it() -> None:
    """What comes early is held, and sent by whoever comes with the missing one."""
    wire = Wire()
    delivery = Delivery(wire.send)

    await delivery.deliver(7, 2, b"second")
    assert wire.parts == []
    await delivery.deliver(9, 1, b"first")

    assert [seq for seq, _ in wire.parts] == [9, 9, 7, 7]


async def test_a_place_given_twice_is_our_mistake() -> None:
    """Two replies of one place cannot both be right: neither order may be guessed."""
    delivery = Delivery(Wire().send)
    await delivery.deliver(1, 1, b"x")
    await delivery.deliver(3, 3, b"x")

    for order in (1, 3):
        with pytest.raises(ValueError, match=f"two replies of order {order}"):
            await delivery.deliver(4, order, b"x")
