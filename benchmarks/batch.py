"""
Batches: how long 100,000 items take to be accepted, what they cost the API, and how fast they feed.

Items are streamed over HTTP to an API in a process of its own, Redis beside it; nothing is executed
meanwhile. Memory is what the kernel says of the API: at rest, and its peak while it takes them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import orjson

from benchmarks.figures import Row, spread
from core.redis_client import connect_async
from core.redis_server import PrivateRedis
from runs.acceptance import Terms
from runs.batches.feeding import Feeder
from tenancy.keys import KeyStore

ITEMS = int(os.environ.get("BENCH_BATCH_ITEMS", "100000"))
FED = min(ITEMS, 20_000)
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
_LINES_AT_ONCE = 500
_MIB = 1024


@dataclass(frozen=True, slots=True)
class _Taken:
    """One round: seconds to accept, and MiB of the API at rest and at its peak."""

    seconds: float
    rest_mib: float
    peak_mib: float
    batch: str


@contextmanager
def _api(redis_url: str) -> Iterator[tuple[int, str]]:
    """Run an API; give its process id and address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environment = {"PATH": os.environ["PATH"], "REDIS_URL": redis_url}
        environment["MOONSAND_LOG_LEVEL"] = "warning"
        fd = listener.fileno()
        command = [sys.executable, "-m", "moonsand", "api", "--fd", str(fd)]
        with subprocess.Popen(command, env=environment, pass_fds=[fd]) as process:
            try:
                yield process.pid, f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                process.terminate()


def _memory_mib(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / _MIB
    raise AssertionError(field)


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


async def _body(count: int) -> AsyncIterator[bytes]:
    yield b'{"batch":{"script":"return 1","concurrency":10000}}\n'
    for first in range(0, count, _LINES_AT_ONCE):
        last = min(count, first + _LINES_AT_ONCE)
        yield b"".join(b'{"id":"item-%d","input":%d}\n' % (n, n) for n in range(first, last))


async def _accept(url: str, key: str, pid: int, count: int) -> _Taken:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    async with httpx2.AsyncClient(
        base_url=url, headers=headers, timeout=120, trust_env=False
    ) as client:
        rest = _memory_mib(pid, "VmRSS")
        _forget_peak(pid)
        began = time.perf_counter()
        answer = await client.post("/v1/batches", content=_body(count))
        seconds = time.perf_counter() - began
        assert answer.status_code == 202, answer.text
        batch = orjson.loads(answer.content)
        assert batch["counts"]["received"] == count
        return _Taken(seconds, rest, _memory_mib(pid, "VmHWM"), batch["id"])


async def _feed(redis_url: str, batch: str) -> float:
    """Give the items that one feeder makes runs of in a second, with nothing that executes them."""
    terms = Terms(queue_max=10 * ITEMS, inbox_max=10 * ITEMS)
    async with connect_async(redis_url) as redis:
        feeder, fed = Feeder(redis, terms), 0
        began = time.perf_counter()
        while fed < min(FED, 10_000):
            fed += (await feeder.feed(batch)).count
        return fed / (time.perf_counter() - began)


async def _round(count: int) -> tuple[_Taken, float]:
    with tempfile.TemporaryDirectory() as directory, PrivateRedis(Path(directory)) as server:
        async with connect_async(server.url) as redis:
            key, _ = await KeyStore(redis).create("bench", "bench")
        with _api(server.url) as (pid, url):
            await _accept(url, key, pid, 1_000)  # what is imported at first use is at rest
            taken = await _accept(url, key, pid, count)
        return taken, await _feed(server.url, taken.batch)


async def batches() -> list[Row]:
    """Measure accepting a batch over HTTP, the API's memory, and feeding."""
    rounds = [await _round(ITEMS) for _ in range(ROUNDS)]
    taken = [one for one, _ in rounds]
    grown = [one.peak_mib - one.rest_mib for one in taken]
    rest, peak = max(one.rest_mib for one in taken), max(one.peak_mib for one in taken)
    seconds = spread([one.seconds for one in taken], "s")
    fed = spread([rate for _, rate in rounds], "/s", 0)
    return [
        Row(f"{ITEMS:,} items accepted over HTTP, NDJSON", seconds, "", "", "< 30 s"),
        Row(
            "memory of the API above what it has at rest, at its peak meanwhile",
            spread(grown, "MiB", 1),
            f"at rest {rest:.0f} MiB, at most {peak:.0f} MiB",
            "",
            "flat",
        ),
        Row("items made runs of, one feeder, nothing executes", fed, "", "", ">= 600 /s"),
    ]


if __name__ == "__main__":
    from benchmarks.figures import show

    show(asyncio.run(batches()))
