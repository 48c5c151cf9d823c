"""The private Redis server is real, durable, private, and never outlives us."""

from __future__ import annotations

import itertools
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
import redis.asyncio

from core import redis_server
from core.errors import Unavailable
from core.redis_client import check_server, check_server_async, connect
from core.redis_server import PrivateRedis, find_server, local_redis
from tests.command import is_running
from tests.deadline import Deadline

_PARENT = """
import sys
from pathlib import Path
from core.redis_server import PrivateRedis
server = PrivateRedis(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


def test_what_was_written_survives_a_restart(tmp_path: Path) -> None:
    """A persistent server gives back after a restart what it was given before."""
    for expected in (None, b"kept"):
        with PrivateRedis(tmp_path / "data") as server, connect(server.url) as client:
            assert client.get("word") == expected
            client.set("word", "kept")


def test_a_server_that_reads_its_file_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes: a service with much in it must start again."""
    clock, busy = itertools.count(0.0, 6.0), iter(range(9))
    asked = redis.Redis.ping

    def ping(client: redis.Redis) -> object:
        with suppress(redis.RedisError):  # it does not listen yet
            if asked(client) and next(busy, None) is None:
                return True
        raise redis.BusyLoadingError

    ours = SimpleNamespace(monotonic=lambda: next(clock), sleep=time.sleep)
    monkeypatch.setattr("core.redis_server.time", ours)
    monkeypatch.setattr(redis.Redis, "ping", ping)
    with PrivateRedis(tmp_path / "data") as server:
        assert server.alive
    assert next(busy, None) is None


def test_nothing_listens_on_the_network_and_others_may_not_enter(redis_sync: redis.Redis) -> None:
    """The server has no TCP port, and its directory and socket are closed to other users."""
    assert redis_sync.config_get("port") == {"port": "0"}
    directory = Path(str(redis_sync.config_get("dir")["dir"]))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "redis.sock").stat().st_mode) == 0o600


def test_a_small_stream_takes_little_memory(redis_sync: redis.Redis) -> None:
    """A run's three streams of a few entries cost what they hold, not a whole node each."""
    for number in range(1, 4):
        redis_sync.xadd("small", {"kind": "started", "body": "x" * 60}, id=f"{number}-0")

    assert int(str(redis_sync.memory_usage("small", samples=0))) < 1_024


def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path, deadline: Deadline) -> None:
    """Nobody cleans up after SIGKILL, and still no server is left behind."""
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        os.kill(parent.pid, signal.SIGKILL)
    deadline.until(lambda: not is_running(pid), "the end of the server")


def test_one_server_a_directory(tmp_path: Path) -> None:
    """A second server in the same directory is refused before it touches the data."""
    with (
        PrivateRedis(tmp_path),
        pytest.raises(Unavailable, match="another server already uses this data directory"),
    ):
        PrivateRedis(tmp_path).start()


def test_a_directory_with_a_very_long_name_works(tmp_path: Path) -> None:
    """A path longer than a socket's may be is no obstacle."""
    with PrivateRedis(tmp_path / ("d" * 120)) as server, connect(server.url) as client:
        assert client.ping() is True


def test_redis_url_wins(tmp_path: Path) -> None:
    """With REDIS_URL set, nothing is started."""
    with local_redis(tmp_path, {"REDIS_URL": "redis://elsewhere:6379/1"}) as url:
        assert url == "redis://elsewhere:6379/1"
    assert list(tmp_path.iterdir()) == []


def test_without_any_program_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no server program can be had, the error names the three ways out."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(redis_server, "_packaged_servers", list)
    with pytest.raises(Unavailable, match="no Redis server program was found") as caught:
        find_server()
    assert caught.value.hint == (
        "set REDIS_URL to a running Redis, or install redis-server or valkey-server 6.2 or newer"
    )


def test_our_own_server_is_fit_for_production(redis_sync: redis.Redis) -> None:
    """The private server passes the check that production demands."""
    assert check_server(redis_sync, "production") == []


def test_a_forgetful_server_is_refused_in_production(tmp_path: Path) -> None:
    """No persistence, or eviction: a warning in development, a refusal in production."""
    with (
        PrivateRedis(tmp_path, persistent=False) as server,
        connect(server.url) as client,
    ):
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert check_server(client, "development") == [
            "maxmemory-policy is allkeys-lru, so Redis may throw runs away; set it to noeviction",
            "appendonly is off, so a restart loses accepted runs; set appendonly yes",
        ]
        with pytest.raises(Unavailable, match="this Redis is not fit for production"):
            check_server(client, "production")


async def test_the_asyncio_check_is_the_same(redis_async: redis.asyncio.Redis) -> None:
    """The asyncio client is judged by the same rules."""
    assert await check_server_async(redis_async, "production") == []


def test_no_answer_is_told_as_such(tmp_path: Path) -> None:
    """A Redis that is away gives an error of ours without a path in it."""
    with (
        connect(f"unix://{tmp_path}/none.sock") as client,
        pytest.raises(Unavailable) as caught,
    ):
        check_server(client, "development")
    assert caught.value.detail == "Redis does not answer (ConnectionError)"
