"""What all tests share: one real Redis server, and waiting with a deadline."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio
from hypothesis import settings

from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from integrations.stubs import Stubs, running_stubs
from tests import canary, kept
from tests.deadline import Deadline

# A shell starts what it puts in the background with Ctrl-C ignored, and processes hand that on: the
# commands under test would be deaf to the Ctrl-C that tests send them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

kept.keep()

# How long an example takes is no invariant: machines are busy. All else stays as the profile is.
settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def deadline() -> Deadline:
    """Poll for something with a deadline."""
    return Deadline()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests that are coroutines run in asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def stub_servers() -> Iterator[Stubs]:
    """Stand-ins of the vendors on this machine, one for the whole session."""
    with running_stubs() as stubs:
        yield stubs


@pytest.fixture
def stubs(stub_servers: Stubs) -> Stubs:
    """The stand-ins, without requests, faults or creations of an earlier test."""
    stub_servers.reset()
    return stub_servers


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """One real private server for the whole session."""
    with PrivateRedis(tmp_path_factory.mktemp("redis")) as server:
        with connect(server.url) as client:
            # Its file is searched when all is over: everything that was ever written stays in it.
            client.config_set("auto-aof-rewrite-percentage", 0)
        yield server


@pytest.fixture
def redis_url(redis_server: PrivateRedis) -> str:
    """URL of an empty Redis."""
    with connect(redis_server.url) as client:
        client.flushall()
        client.script_flush()
    return redis_server.url


@pytest.fixture
def redis_sync(redis_url: str) -> Iterator[redis.Redis]:
    """Client of an empty Redis."""
    with connect(redis_url) as client:
        yield client


@pytest.fixture
async def redis_async(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """Asyncio client of an empty Redis, for tests that are coroutines."""
    async with connect_async(redis_url) as client:
        yield client


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """
    Search what all tests have left, every write to every Redis included, for credentials.

    Looked for are those of the stand-ins, those that tests make up, and whole API keys.
    """
    factory = getattr(session.config, "_tmp_path_factory", None)
    base: Path | None = getattr(factory, "_basetemp", None)
    if base is None or hasattr(session.config, "workerinput"):  # the process that leads searches
        return
    left = canary.found_in(canary.files(base), canary.stub_secrets() | {canary.MARK})
    if left:
        listed = "".join(f"  {one}\n" for one in left)
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write(f"\ncredentials were left in {base}:\n{listed}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
