"""What tests of workers and of the API share; a module may define its own instead."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
import redis.asyncio

from core.redis_server import PrivateRedis
from runs.store import RunStore
from tests.api_server import ApiServer
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


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """One API for all tests of a file, without a worker."""
    with ApiServer(redis_server.url) as server:
        yield server


@pytest.fixture
def client(api: ApiServer, redis_url: str) -> Iterator[httpx2.Client]:
    """A client of tenant acme, over an empty Redis."""
    assert redis_url
    with api.client("acme") as made:
        yield made
