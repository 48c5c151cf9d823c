"""Each queue of the field: what it is installed from, how it works as it comes, how it counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_UV = _ROOT / ".tools" / "bin" / "uv"
_ENVIRONMENTS = _ROOT / ".tools" / "peers"
_POLL_S = 0.02
_LONGEST_S = 90.0


@dataclass(frozen=True, slots=True)
class Peer:
    """
    A queue that executes a Python no-op, isolating nothing.

    Its worker is started with its own defaults. `done` counts the results that it has stored.
    """

    name: str
    requirements: Sequence[str]
    worker: Sequence[str]
    jobs: int
    done: Callable[[redis.Redis], int]

    def install(self) -> Path:
        """Give the directory of its programs; it has a virtual environment of its own."""
        place = _ENVIRONMENTS / self.name
        if not (place / ".ready").exists():
            _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(place))
            _uv("pip", "install", "--quiet", "--python", str(place), *self.requirements)
            (place / ".ready").touch()
        return place / "bin"

    def drain(self, client: redis.Redis, url: str) -> float:
        """Enqueue all jobs, then start its worker: jobs a second from the tenth part to the end."""
        programs = self.install()
        environment = {
            "REDIS_URL": url,
            "PATH": f"{programs}:/usr/bin:/bin",
            "PYTHONPATH": str(_HERE),
            "C_FORCE_ROOT": "1",  # Celery refuses to be root without
        }
        enqueue = [str(programs / "python"), str(_HERE / f"{self.name}_jobs.py"), str(self.jobs)]
        subprocess.run(enqueue, env=environment, check=True, timeout=60, cwd=_HERE)
        worker = subprocess.Popen(
            [str(programs / self.worker[0]), *self.worker[1:]],
            env=environment,
            cwd=_HERE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return self._rate(client)
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()

    def _rate(self, client: redis.Redis) -> float:
        began, before, end = 0.0, 0, time.monotonic() + _LONGEST_S
        while True:
            done = self.done(client)
            now = time.monotonic()
            if not before and done >= self.jobs // 10:
                began, before = now, done
            if done >= self.jobs:
                return (done - before) / (now - began)
            assert now < end, f"{self.name} did {done} of {self.jobs} jobs in {_LONGEST_S} s"
            time.sleep(_POLL_S)


def _matching(pattern: str) -> Callable[[redis.Redis], int]:
    return lambda client: sum(1 for _ in client.scan_iter(pattern, count=2_000))


def _in_set(key: str) -> Callable[[redis.Redis], int]:
    def count(client: redis.Redis) -> int:
        found: Any = client.zcard(key)
        return int(found)

    return count


def _in_hash(key: str) -> Callable[[redis.Redis], int]:
    def count(client: redis.Redis) -> int:
        found: Any = client.hlen(key)
        return int(found)

    return count


#: The default worker of each, in the order of the table.
FIELD = (
    Peer("rq", ["rq==3.0.0"], ["rq", "worker", "peer"], 150, _in_set("rq:finished:peer")),
    Peer(
        "celery",
        ["celery[redis]==5.7.0"],
        ["celery", "-A", "celery_jobs", "worker"],
        1_500,
        _matching("celery-task-meta-*"),
    ),
    Peer(
        "arq",
        ["arq==0.28.0"],
        ["arq", "arq_jobs.WorkerSettings"],
        1_500,
        _matching("arq:result:*"),
    ),
    Peer(
        "taskiq",
        ["taskiq==0.13.0", "taskiq-redis==1.2.4"],
        ["taskiq", "worker", "taskiq_jobs:broker"],
        2_000,
        _matching("peer-result*"),
    ),
    Peer(
        "dramatiq",
        ["dramatiq[redis]==2.2.1"],
        ["dramatiq", "dramatiq_jobs"],
        3_000,
        _matching("?" * 32),  # the MD5 of each result's name
    ),
    Peer(
        "huey",
        ["huey==3.5.4", "redis"],
        ["huey_consumer", "huey_jobs.huey"],
        3_000,
        _in_hash("huey.results.peer"),
    ),
)


def _uv(*arguments: str) -> None:
    subprocess.run([str(_UV), *arguments], check=True, timeout=300, cwd=_ROOT)
