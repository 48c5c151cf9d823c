"""A primary, a replica and two Sentinels, all real processes on loopback."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from core.redis_server import find_server
from tests.deadline import Deadline

SERVICE = "moonsand"
PASSWORD = "p-a-s-s"
_WATCH = """
port {port}
bind 127.0.0.1
dir {place}
sentinel monitor {service} 127.0.0.1 {primary} 2
sentinel auth-pass {service} {password}
sentinel down-after-milliseconds {service} 1000
sentinel failover-timeout {service} 5000
"""


class Sentinels:
    """
    Started with the `with` block, and ended with it.

    `url` is that of the service; `kill_primary` kills whatever is the primary at first.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._ports = [self._held_port() for _ in range(4)]
        watchers = ",".join(f"127.0.0.1:{port}" for port in self._ports[2:])
        self.url = f"redis+sentinel://:{PASSWORD}@{watchers}/{SERVICE}/0"

    def __enter__(self) -> Self:
        """Start all four, and wait until the Sentinels know of the replica and of each other."""
        primary, replica, *watchers = self._ports
        self._primary = self._server(primary)
        self._server(replica, "--replicaof", "127.0.0.1", str(primary))
        self._until(lambda: self._info(replica)["master_link_status"] == "up", "the replica")
        for port in watchers:
            place = self._directory / f"sentinel{port}"
            place.mkdir(parents=True)
            text = _WATCH.format(
                port=port, place=place, service=SERVICE, primary=primary, password=PASSWORD
            )
            (place / "sentinel.conf").write_text(text)
            self._start(str(place / "sentinel.conf"), "--sentinel")
        for port in watchers:
            self._until(lambda port=port: self._known(port), "the Sentinels")
            # One that was held up for two seconds would do nothing for half a minute.
            with suppress(redis.ResponseError):  # Redis 6.2 knows no other time
                self._ask(port, "DEBUG", "tilt-trigger", 3_600_000)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill what is left."""
        self._stack.close()

    def replicate(self) -> None:
        """Wait until the replica has all that was written so far."""
        client = self._client(self._ports[0])
        client.set("ms:probe-of-a-test", 1)  # WAIT speaks of what its own connection wrote
        assert client.wait(1, 5_000) == 1

    def patience(self, ms: int) -> None:
        """Say how long a primary may be silent before another one is made."""
        for port in self._ports[2:]:
            self._ask(port, "SET", SERVICE, "down-after-milliseconds", ms)

    def kill_primary(self) -> None:
        """Kill the server that is the primary at first; the Sentinels make another one."""
        self._primary.kill()
        self._primary.wait()

    def _server(self, port: int, *more: str) -> subprocess.Popen[bytes]:
        place = self._directory / f"redis{port}"
        place.mkdir(parents=True)
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(place)]
        options += ["--requirepass", PASSWORD, "--masterauth", PASSWORD, "--save", ""]
        options += ["--appendonly", "yes", "--maxmemory-policy", "noeviction"]
        options += ["--repl-diskless-sync-delay", "0", *more]
        process = self._start(*options)
        self._until(lambda: self._client(port).ping(), "a server")
        return process

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([find_server(), *arguments], stdout=subprocess.DEVNULL)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def _client(self, port: int, password: str | None = PASSWORD) -> redis.Redis:
        client = redis.Redis(port=port, password=password)
        self._stack.callback(client.close)
        return client

    def _ask(self, port: int, *command: str | int) -> Any:
        asked: Any = self._client(port, None).execute_command
        return asked("SENTINEL", *command)

    def _held_port(self) -> int:
        """Give a port that stays bound and never listens: a server may take it, nobody else."""
        held = self._stack.enter_context(socket.socket())
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])

    def _info(self, port: int) -> Any:
        return self._client(port).info("replication")

    def _known(self, port: int) -> bool:
        try:
            found = self._ask(port, "MASTER", SERVICE)
        except redis.RedisError:
            return False
        known = (
            found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
        )
        count = {str(_text(name)): _text(value) for name, value in known.items()}
        return (int(count["num-slaves"]), int(count["num-other-sentinels"])) == (1, 1)

    @staticmethod
    def _until(probe: Any, what: str) -> None:
        def look() -> bool:
            try:
                return bool(probe())
            except redis.RedisError:
                return False

        Deadline().until(look, what, seconds=20)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
