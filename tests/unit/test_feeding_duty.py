"""The duty of feeding batches loses no call, however it falls."""

from __future__ import annotations

import asyncio

from runs.acceptance import Terms
from runs.batches.feeding import Fed, Feeder
from scheduler.feeding import Feeding
from tests.deadline import Deadline


class Called(Feeder):
    """A feeder whose batch has room again while it is still being fed."""

    def __init__(self, feeding: Feeding) -> None:
        self.feeding = feeding
        self.fed = 0

    async def feed(self, batch_id: str) -> Fed:
        self.fed += 1
        if self.fed == 1:
            self.feeding.call([batch_id.encode()])
        return Fed(count=1)

    async def find_lost(self, batch_ids: object, still_s: float) -> None:
        """Find none."""


class Quiet(Feeding):
    """A duty that hears of batches by calls only."""

    async def _look_around(self) -> None:
        pass


async def test_a_call_that_comes_while_a_batch_is_fed_is_a_call_for_more() -> None:
    """A run that ends during a step wakes its batch once; that must lead to another step."""
    feeding = Quiet(None, Terms())  # type: ignore[arg-type]  # nothing asks Redis here
    feeder = feeding._feeder = Called(feeding)
    feeding.call([b"bat_1"])

    async def turns() -> None:
        while True:
            await feeding.turn()

    task = asyncio.create_task(turns())

    async def fed_twice() -> bool:
        await asyncio.sleep(0)
        return feeder.fed >= 2

    await Deadline().reached(fed_twice, "a second step")
    task.cancel()
