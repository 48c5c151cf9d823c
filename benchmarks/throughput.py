"""
The whole service under load: runs submitted one by one over HTTP, and in batches.

Client, API, Redis, worker, scheduler, sequencer and every child share the machine's cores. Each run
is a no-op in a fresh jailed child, on its tape and in the ledger. Beside it, in turn with it, other
queues execute a Python no-op with their default workers.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson

from benchmarks.figures import Row, median, spread
from benchmarks.peers.field import FIELD
from core import keys
from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from core.settings import Settings, slots_here
from moonsand.client import AsyncClient
from moonsand.local_service import Plan, Running, local_service
from runs.model import RunRequest

#: Seconds of each load; the figures of a report are taken with 60.
LOAD_S = float(os.environ.get("BENCH_LOAD_S", "20"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CLIENTS = 24
SLOTS = slots_here()
CONCURRENCY = 256
NO_OP = RunRequest(script="return 1")
_SETTLE_S = 3.0


@asynccontextmanager
async def service() -> AsyncIterator[Running]:
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(port=0, slots=SLOTS, log_level="warning", queue_max=200_000)
        root = Path(directory)
        plan = Plan(settings, root, log=root / "log", notice=lambda _: None)
        async with local_service(plan) as running:
            yield running


async def _ended(client: Any) -> int:
    """Count the runs that ended, over all of the tenant's queues."""
    queues = await client.keys("rq:finished:t.*")
    return sum([await client.zcard(queue) for queue in queues])


async def _rate(running: Running, seconds: float) -> float:
    """Give the runs that end in a second, sustained, after the load has settled."""
    async with connect_async(running.redis_url) as client:
        await asyncio.sleep(min(_SETTLE_S, seconds / 4))
        before, began = await _ended(client), time.monotonic()
        await asyncio.sleep(seconds)
        return (await _ended(client) - before) / (time.monotonic() - began)


async def singly() -> float:
    """Submit one run a request, some clients in turn with each other, each waiting for its end."""
    async with service() as running:
        over = asyncio.Event()

        async def one() -> None:
            async with AsyncClient(running.url, running.key) as client:
                while not over.is_set():
                    record = await client.submit_request(NO_OP, wait_s=10)
                    assert record.result == 1, record

        clients = [asyncio.create_task(one()) for _ in range(CLIENTS)]
        rate = await _rate(running, LOAD_S)
        over.set()
        await asyncio.gather(*clients)
        async with connect_async(running.redis_url) as client:
            left: Any = await client.xlen(keys.LEDGER_INBOX)
        assert left < 5_000, f"{left} entries wait: the ledger does not keep up"
        return rate


def _field(rounds: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {peer.name: [] for peer in FIELD}
    with (
        tempfile.TemporaryDirectory() as directory,
        PrivateRedis(Path(directory)) as server,
        connect(server.url) as client,
    ):
        for _ in range(rounds):
            for peer in FIELD:
                client.flushall()
                rates[peer.name].append(peer.drain(client, server.url))
    return rates


async def items(count: int) -> AsyncIterator[bytes]:
    yield orjson.dumps({"batch": {"script": "return 1", "concurrency": CONCURRENCY}}) + b"\n"
    for at in range(0, count, 1_000):
        yield b'{"input":null}\n' * min(1_000, count - at)


async def in_a_batch() -> float:
    """Submit one large batch as NDJSON, and count what ends while it lasts."""
    async with service() as running:
        async with httpx2.AsyncClient(base_url=running.url, timeout=60, trust_env=False) as client:
            answer = await client.post(
                "/v1/batches",
                headers={
                    "Authorization": f"Bearer {running.key}",
                    "Content-Type": "application/x-ndjson",
                },
                content=items(min(100_000, int(LOAD_S + 2 * _SETTLE_S) * 1_500)),
            )
        assert answer.status_code == 202, answer.text
        rate = await _rate(running, LOAD_S)
        async with connect_async(running.redis_url) as client:
            left: Any = await client.xlen(keys.LEDGER_INBOX)
        assert left < 5_000, f"{left} entries wait: the ledger does not keep up"
        return rate


def rows() -> list[Row]:
    """Measure the service, and in turn with it the field, one round after the other."""
    batches, singles = [], []
    field: dict[str, list[float]] = {peer.name: [] for peer in FIELD}
    for _ in range(ROUNDS):
        batches.append(asyncio.run(in_a_batch()))
        singles.append(asyncio.run(singly()))
        for name, rates in _field(1).items():
            field[name] += rates
    ours = median(batches)
    return [
        Row("no-op runs a second in a batch, whole service", spread(batches, "/s", 0), "", "",
            ">= 400"),
        Row("no-op runs a second, one a request", spread(singles, "/s", 0), "", "", ">= 250"),
        *(
            Row(f"a batch beside {name}'s default worker", f"{ours:.0f} /s",
                f"{name}, Python no-op: " + spread(rates, "/s", 0), f"{ours / median(rates):.2f}",
                "> 1" if name in {"rq", "celery", "arq"} else "")
            for name, rates in field.items()
        ),
    ]  # fmt: skip
