"""What tests of workers and of the API share; a module may define its own instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import redis
import redis.asyncio

from core.redis_server import PrivateRedis
from runs.approvals import ApprovalStore
from runs.store import RunStore
from tenancy.master_keys import new_line
from tests.api_server import ApiServer
from tests.faults.counting_vendor import CountingVendor
from tests.hook_events import Service, ready
from tests.integration.run_watching import TENANT
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


@pytest.fixture
def approvals(redis_async: redis.asyncio.Redis) -> ApprovalStore:
    """What runs have asked."""
    return ApprovalStore(redis_async)


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[CountingVendor]:
    """A vendor that counts what is paid."""
    with CountingVendor(tmp_path, TENANT) as till:
        yield till


@pytest.fixture(scope="module")
def hook_api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """One API that keeps secrets, without a worker: a run that is accepted is what counts."""
    with ApiServer(redis_server.url, trigger_keys=new_line("k1")) as server:
        yield server


@pytest.fixture
def hook_service(hook_api: ApiServer, redis_sync: redis.Redis, redis_url: str) -> Iterator[Service]:
    """That API on an empty Redis, with a tenant that has a saved script."""
    with ready(hook_api, redis_sync, redis_url) as made:
        yield made
