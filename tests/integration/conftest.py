"""What the tests of workers share; a module may define its own instead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis.asyncio

from runs.store import RunStore
from tests.worker_processes import WorkerProcess, running_worker


@pytest.fixture
def worker(redis_url: str) -> Iterator[WorkerProcess]:
    """One worker with four slots."""
    with running_worker(redis_url) as process:
        yield process


@pytest.fixture
def store(redis_async: redis.asyncio.Redis) -> RunStore:
    """The accepting side."""
    return RunStore(redis_async)
