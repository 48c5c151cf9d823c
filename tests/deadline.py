"""Waiting with an end."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


class Deadline:
    """Waiting for something to become true, with an end: the only sleeps of the tests."""

    def until(self, probe: Callable[[], T], what: str = "it", *, seconds: float = 20) -> T:
        """
        Call `probe` until it gives something true, and give that.

        Raises:
            AssertionError: `what` did not happen within `seconds`.
        """
        end = time.monotonic() + seconds
        while True:
            seen = probe()
            if seen:
                return seen
            assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
            time.sleep(0.01)

    async def reached(
        self, probe: Callable[[], Awaitable[T]], what: str = "it", *, seconds: float = 20
    ) -> T:
        """Await `probe` until it gives something true, and give that, as `until` does."""
        end = time.monotonic() + seconds
        while True:
            seen = await probe()
            if seen:
                return seen
            assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
            await anyio.sleep(0.01)
