"""A real scheduler process, for tests that kill it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests import warm
from tests.command import environment
from tests.warm import WarmProcess


@contextmanager
def running_scheduler(redis_url: str) -> Iterator[WarmProcess]:
    """Run a scheduler; kill it at the end if it still lives."""
    env = environment(REDIS_URL=redis_url, MOONSAND_LOG_LEVEL="warning")
    process = warm.start("moonsand", "scheduler", env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
