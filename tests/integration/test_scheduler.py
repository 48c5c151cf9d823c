"""A scheduler shows that it is alive, outlives the faults of its duties, and ends when told to."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from core import keys
from moonsand.scheduler_health import is_alive
from scheduler.duties import keep
from tests.deadline import Deadline

ROOT = Path(__file__).parents[2]


@contextmanager
def scheduler(redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a real one."""
    command = [sys.executable, "-m", "moonsand", "scheduler"]
    environment = {**os.environ, "REDIS_URL": redis_url}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_scheduler_is_seen_while_it_lives_and_no_longer(redis_url: str) -> None:
    """It shows up for health checks of its host, and signs off when it is told to end."""
    with redis.Redis.from_url(redis_url) as client, scheduler(redis_url) as process:
        Deadline().until(
            lambda: is_alive(client, socket.gethostname()), "a sign of life", seconds=40
        )
        assert not is_alive(client, "another-host")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert client.zcard(keys.SCHEDULERS) == 0


def test_a_duty_that_fails_gets_another_turn() -> None:
    """An error of one turn ends neither the duty nor its caller."""
    turns: list[int] = []
    third = asyncio.Event()

    class Failing:
        name = "failing"

        async def turn(self) -> float:
            turns.append(1)
            if len(turns) < 3:
                raise ConnectionError("Redis is away")
            third.set()
            return 3_600.0

    async def third_turn() -> None:
        task = asyncio.create_task(keep(Failing()))
        await asyncio.wait_for(third.wait(), 10)
        assert not task.done()
        task.cancel()

    asyncio.run(third_turn())
