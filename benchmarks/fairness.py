"""What a tenant with a long queue does to another that submits a run now and then."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
import redis.asyncio

from benchmarks.figures import Row, median, percentile, spread
from core import keys
from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from core.settings import slots_here
from runs.acceptance import Terms
from runs.model import RunRequest
from runs.store import RunStore
from worker.claim import Claimer
from worker.plan import WorkerPlan

#: The whole measurement queues 20,000: `BENCH_BACKLOG=20000`.
BACKLOG = int(os.environ.get("BENCH_BACKLOG", "3000"))
IDLE_RUNS = 60
GAP_S = 0.1
TENANTS = 1_000
CLAIMED = 4_000
ROUNDS = 3
SLOTS = slots_here()
_NO_OP = RunRequest(script="return 1")
_TERMS = Terms(queue_max=1_000_000, inbox_max=10_000_000)
_LOADED, _QUIET = "loaded", "quiet"


@contextmanager
def _worker(url: str) -> Iterator[None]:
    environment = {"REDIS_URL": url, "PATH": "/usr/bin:/bin", "MOONSAND_LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "moonsand", "worker", "--slots", str(SLOTS)]
    process = subprocess.Popen(command, env=environment, cwd=Path.cwd())
    try:
        with connect(url) as client:
            while not client.scard("rq:workers"):
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(40)


async def _submit(store: RunStore, tenant: str, count: int) -> None:
    for _ in range(count):
        await store.submit(tenant, _NO_OP, key_id="bench")


async def _wait_ms(client: redis.asyncio.Redis, run_id: str, submitted_s: float) -> float:
    """Give the milliseconds from a submission to the run's begin, by Redis' microseconds."""
    (_, results), *_ = await _as_any(client.xread({f"rq:results:{run_id}": "0"}, block=10_000))
    return (float(results[-1][1][b"execution_started_at"]) - submitted_s) * 1000


async def _as_any(reply: Any) -> Any:
    return await reply


async def _now_and_then(client: redis.asyncio.Redis, going: asyncio.Event) -> list[float]:
    """Submit a run each 100 ms as long as `going` is set; give how long each was queued."""
    store, submitted = RunStore(client, _TERMS), dict[str, float]()
    while going.is_set():
        began = time.time()
        submitted[(await store.submit(_QUIET, _NO_OP, key_id="bench")).id] = began
        await asyncio.sleep(max(0.0, GAP_S - (time.time() - began)))
    waits = []
    for run_id, began in submitted.items():
        waits.append(await _wait_ms(client, run_id, began))
    return waits


async def _idle_ms(client: redis.asyncio.Redis) -> list[float]:
    going = asyncio.Event()
    going.set()
    asyncio.get_running_loop().call_later(IDLE_RUNS * GAP_S, going.clear)
    return await _now_and_then(client, going)


def _drained_to(url: str, left: int) -> tuple[float, int]:
    with connect(url) as client:
        while (length := int(client.llen(f"rq:queue:{keys.queue(_LOADED)}"))) > left:
            time.sleep(0.02)
        return time.perf_counter(), length


async def _drained_per_s(url: str) -> float:
    """Give the runs a second of the loaded tenant, from a tenth of its backlog to nine tenths."""
    began, first = await asyncio.to_thread(_drained_to, url, BACKLOG * 9 // 10)
    ended, last = await asyncio.to_thread(_drained_to, url, BACKLOG // 10)
    return (first - last) / (ended - began)


async def _loaded(
    client: redis.asyncio.Redis, url: str, *, other: bool
) -> tuple[float, list[float]]:
    """Drain a backlog, with another tenant beside it or alone."""
    going, waiting = asyncio.Event(), None
    store = RunStore(client, _TERMS)
    await client.set("rq:suspended", 1)
    await _submit(store, _LOADED, BACKLOG)
    await client.delete("rq:suspended")
    # A worker looks once a second whether it may go on: that wait is not what is measured.
    await asyncio.to_thread(_drained_to, url, BACKLOG - 1)
    if other:
        going.set()
        waiting = asyncio.create_task(_now_and_then(client, going))
    rate = await _drained_per_s(url)
    going.clear()
    return rate, await waiting if waiting is not None else []


def _claim_us(client: redis.Redis) -> float:
    """Claim everything that is queued; give the microseconds for each run."""
    claimer = Claimer(client, WorkerPlan("bench", CLAIMED, lease_s=300))
    took, count = 0.0, 0
    while count < CLAIMED:
        began = time.perf_counter()
        claims = claimer.claim(16) or []
        took += time.perf_counter() - began
        count += len(claims)
        assert claims, count
    return took * 1e6 / count


async def _dequeue(client: redis.asyncio.Redis, url: str, tenants: int) -> float:
    await client.flushall()
    store = RunStore(client, _TERMS)
    for number in range(CLAIMED):
        await store.submit(f"t{number % tenants}", _NO_OP, key_id="bench")
    with connect(url) as blocking:
        return await asyncio.to_thread(_claim_us, blocking)


async def shares() -> list[Row]:
    """Measure the waits of the quiet tenant and the rate of the loaded one, apart and together."""
    idle, beside, alone, together = [], [], [], []
    one, many = [], []
    with tempfile.TemporaryDirectory() as name, PrivateRedis(Path(name)) as server:
        async with connect_async(server.url) as client:
            with _worker(server.url):
                for _ in range(ROUNDS):
                    idle.append(percentile(await _idle_ms(client), 0.95))
                    alone.append((await _loaded(client, server.url, other=False))[0])
                    rate, waits = await _loaded(client, server.url, other=True)
                    together.append(rate)
                    beside.append(percentile(waits, 0.95))
            for _ in range(ROUNDS):
                one.append(await _dequeue(client, server.url, 1))
                many.append(await _dequeue(client, server.url, TENANTS))
    slower = median([b / a for a, b in zip(idle, beside, strict=True)])
    kept = median([b / a for a, b in zip(alone, together, strict=True)])
    dearer = median([b / a for a, b in zip(one, many, strict=True)])
    return [
        Row(f"wait of a tenant beside {BACKLOG} runs of another, p95", spread(beside, "ms"),
            "the same, nothing else queued: " + spread(idle, "ms"), f"{slower:.2f}", "<= 3"),
        Row("runs a second of the other meanwhile", spread(together, "/s", 0),
            "alone: " + spread(alone, "/s", 0), f"{kept:.2f}", ">= 0.9"),
        Row(f"claiming one run, {TENANTS} tenants have some", spread(many, "us", 0),
            "one tenant has all: " + spread(one, "us", 0), f"{dearer:.2f}", "<= 1.5"),
    ]  # fmt: skip
