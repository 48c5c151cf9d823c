"""Real worker processes, for tests that stop, freeze and kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from core.redis_client import connect
from tests import warm
from tests.deadline import Deadline
from tests.hosts import Host

#: Seconds; a worker that is silent for so long has lost its runs.
LEASE_S = 2


class WorkerProcess:
    """One `moonsand worker`, with everything real, in a process of its own, here or on a host."""

    def __init__(
        self, redis_url: str, *arguments: str, host: Host | None = None, **settings: Any
    ) -> None:
        environ = {
            "PATH": os.environ["PATH"],
            "REDIS_URL": redis_url,
            "MOONSAND_LEASE_S": str(LEASE_S),
        }
        environ |= {f"MOONSAND_{name.upper()}": str(value) for name, value in settings.items()}
        environ.setdefault("MOONSAND_LOG_LEVEL", "warning")
        self.process: subprocess.Popen[bytes] | warm.WarmProcess
        if host is None:
            self.process = warm.start("moonsand", "worker", *arguments, env=environ)
        else:
            command = host.command([sys.executable, "-m", "moonsand", "worker", *arguments])
            self.process = subprocess.Popen(command, env=environ, cwd=warm.ROOT)

    @property
    def pid(self) -> int:
        """Give its process id."""
        return self.process.pid

    def name(self, client: redis.Redis) -> str | None:
        """Give the name under which it is registered, None when it is not."""
        names: Any = client.smembers("rq:workers")
        for key in names:
            if client.hget(key, "pid") == str(self.pid).encode():
                return str(key.decode().removeprefix("rq:worker:"))
        return None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def gone_when_told_again(self) -> bool:
        """Tell it once more to go, as two signals of a kind may arrive as one; tell if it has."""
        self.signal(signal.SIGTERM)
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill it as the kernel does when memory is short."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds: float = 20) -> int:
        """Ask it to stop; give its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def children_of_zygote(self) -> list[int]:
        """Give the ids of the jailed children: the zygote's, not the zygote itself."""
        parents = dict(_parents())
        return [pid for pid in self.descendants() if parents.get(pid) != self.pid]

    def descendants(self) -> list[int]:
        """Give the ids of its zygote and its children, busiest first."""
        return descendants_of(self.pid)


@contextmanager
def running_worker(redis_url: str, slots: int = 4, **settings: Any) -> Iterator[WorkerProcess]:
    """Start a worker and wait until it serves; kill it at the end if it still lives."""
    worker = WorkerProcess(redis_url, "--slots", str(slots), **settings)
    try:
        with connect(redis_url) as client:
            Deadline().until(lambda: worker.name(client), "the worker's registration", seconds=20)
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.signal(signal.SIGCONT)
            worker.kill()


def descendants_of(ancestor: int) -> list[int]:
    """Give the ids of what a process started, and theirs, busiest first."""
    parents = dict(_parents())
    found = [pid for pid in parents if _descends(pid, ancestor, parents)]
    return sorted(found, key=cpu_ticks, reverse=True)


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                yield int(entry.name), int(fields[1])


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False


def cpu_ticks(pid: int) -> int:
    """Give the processor time of a process in ticks of the kernel, 0 if there is none."""
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
