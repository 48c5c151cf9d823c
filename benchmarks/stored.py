"""
What a run costs while ever more runs are stored, and while ever more tenants have work.

A run's cost is the processor time of the whole service (API, Redis, worker and its children,
scheduler, sequencer) for one no-op run of a batch. Runs that are stored are copies of real ones,
key by key, in Redis; in the ledger's archive there is a leaf for each of them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx2
import redis.asyncio

from benchmarks.figures import Row
from benchmarks.process_cpu import tree_cpu_us
from benchmarks.throughput import NO_OP, items, service
from core import keys
from core.ids import new_id
from core.redis_client import connect_async
from ledger import inbox
from ledger.leaves import LeafKind, leaf
from moonsand.local_service import Running
from runs.store import RunStore

LEVELS = [int(one) for one in os.environ.get("BENCH_STORED", "1000,10000,100000").split(",")]
TENANTS = [1, 10, 100, 1_000]
RUNS = 3_000
_LONGEST_S = 300.0
_COPIES = 1_000
_LEAVES = 5_000

#: Copies all that is stored of one ended run under other ids. ARGV: run, tenant, ttl_ms, ids.
_COPY = """
local run, tenant, ttl_ms = ARGV[1], ARGV[2], ARGV[3]
local kept = {}
for _, part in ipairs({ 'ms:run:', 'ms:tape:', 'ms:events:', 'rq:job:', 'rq:results:' }) do
  kept[part] = redis.call('DUMP', part .. run)
end
local at_ms = redis.call('HGET', 'ms:run:' .. run, 'created_ms')
for index = 4, #ARGV do
  for part, text in pairs(kept) do redis.call('RESTORE', part .. ARGV[index], ttl_ms, text) end
  redis.call('ZADD', 'rq:finished:t.' .. tenant .. '.normal', at_ms / 1000 + 600000, ARGV[index])
  redis.call('ZADD', 'ms:runs:' .. tenant, at_ms, ARGV[index])
end
redis.call('ZREMRANGEBYRANK', 'ms:runs:' .. tenant, 0, -100001)
"""


def _children(parents: set[int]) -> set[int]:
    found = set(parents)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                stat = (entry / "stat").read_text("ascii")
                if int(stat.rpartition(")")[2].split()[1]) in parents:
                    found.add(int(entry.name))
    return found


async def _long_lived(running: Running, client: redis.asyncio.Redis) -> set[int]:
    """Give the processes of the service that outlive a run; a zygote has the times of its own."""
    info: Any = await client.info("server")
    return _children(set(running.fleet.pids.values())) | {int(info["process_id"])}


async def _post(running: Running) -> None:
    headers = {"Authorization": f"Bearer {running.key}", "Content-Type": "application/x-ndjson"}
    async with httpx2.AsyncClient(base_url=running.url, timeout=60, trust_env=False) as client:
        answer = await client.post("/v1/batches", headers=headers, content=items(RUNS))
    assert answer.status_code == 202, answer.text


async def _cost_us(
    running: Running, client: redis.asyncio.Redis, submit: Callable[[], Awaitable[None]]
) -> float:
    """Have `RUNS` runs submitted, and give what one costs."""
    pids = await _long_lived(running, client)
    before = sum(map(tree_cpu_us, pids))
    ended = await _ended(client)
    await submit()
    end = time.monotonic() + _LONGEST_S
    while await _ended(client) - ended < RUNS or await client.xlen(keys.LEDGER_INBOX):
        assert time.monotonic() < end, "the runs do not end"
        await asyncio.sleep(0.05)
    return (sum(map(tree_cpu_us, pids)) - before) / RUNS


async def _ended(client: redis.asyncio.Redis) -> int:
    """Count what the worker has ended."""
    total = 0
    for name in await cast("Any", client.smembers("rq:workers")):
        total += int(await cast("Any", client.hget(name, "successful_job_count")) or 0)
    return total


async def _taken(client: redis.asyncio.Redis, but_for: int = 0) -> None:
    """Wait for the sequencer."""
    while await client.xlen(keys.LEDGER_INBOX) > but_for:  # noqa: ASYNC110 (another process)
        await asyncio.sleep(0.05)


async def _store(client: redis.asyncio.Redis, count: int, have: int) -> None:
    newest: Any = await client.zrange(keys.tenant_runs("development"), -1, -1)
    args: list[Any] = [newest[0], "development", 86_400_000]
    for _ in range(have, count, _COPIES):
        ids = [new_id("run") for _ in range(_COPIES)]
        await cast("Any", client.eval(_COPY, 0, *args, *ids))
    for at in range(have, count, _LEAVES):
        pipe = client.pipeline(transaction=False)
        for number in range(at, min(at + _LEAVES, count)):
            text = leaf(LeafKind.LIMITS_CHANGED, f"fill-{number}", tenant="fill", at_ms=number)
            inbox.record(pipe, text)
        await pipe.execute()
        await _taken(client, but_for=4 * _LEAVES)
    await _taken(client)


async def _by_stored_runs() -> list[tuple[int, float]]:
    curve = []
    async with service() as running, connect_async(running.redis_url) as client:
        have = 0
        await _cost_us(running, client, partial(_post, running))
        for level in LEVELS:
            await _store(client, level, have)
            have = level
            curve.append((level, await _cost_us(running, client, partial(_post, running))))
    return curve


async def _submit(store: RunStore, tenants: int) -> None:
    for number in range(RUNS):
        await store.submit(f"tenant-{number % tenants}", NO_OP, key_id="bench")


async def _by_tenants() -> list[tuple[int, float]]:
    curve = []
    async with service() as running, connect_async(running.redis_url) as client:
        store = RunStore(client)
        await _cost_us(running, client, partial(_submit, store, 1))
        for count in TENANTS:
            cost_us = await _cost_us(running, client, partial(_submit, store, count))
            curve.append((count, cost_us))
    return curve


def _row(what: str, curve: list[tuple[int, float]]) -> Row:
    shown = ", ".join(f"{count:,}: {cost:.0f} us" for count, cost in curve)
    return Row(what, shown, "", f"{curve[-1][1] / curve[0][1]:.2f}", "flat")


def rows() -> list[Row]:
    """Measure both curves."""
    return [
        _row("cost of a run by stored runs", asyncio.run(_by_stored_runs())),
        _row("cost of a run by tenants that submit in turn", asyncio.run(_by_tenants())),
    ]
