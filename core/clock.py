"""The clock, in one place, so that tests own it."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Unix time in milliseconds. Code that needs the time takes one of these as a parameter.
Clock = Callable[[], int]


def now_ms() -> int:
    """Give the Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
