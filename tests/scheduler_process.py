"""A real scheduler process, for tests that kill it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.command import environment


@contextmanager
def running_scheduler(redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a scheduler; kill it at the end if it still lives."""
    command = [sys.executable, "-m", "moonsand", "scheduler"]
    env = environment(REDIS_URL=redis_url, MOONSAND_LOG_LEVEL="warning")
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
