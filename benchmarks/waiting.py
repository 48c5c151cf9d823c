"""
What runs that wait cost: ten thousand of them, in a private Redis, made as a service makes them.

    python -m benchmarks.waiting [--runs 10000]

Each run is submitted by the store, claimed and let go by the scripts a worker uses, with the
records that a worker writes. Told is what Redis uses more than before, for each run, and how long
it takes to find those that are due. No process exists for any of them.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

from core import keys
from core.clock import now_ms
from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from integrations.waits import Question, Wait
from ledger.redis_tape import RedisTape
from ledger.tape import Kind
from runs.acceptance import Terms
from runs.model import RunRequest
from runs.redis_scripts import load
from runs.rq_job import timestamp
from runs.store import RunStore
from runs.suspension import Suspension
from sandbox.outcome import Usage
from sandbox.surface import digest_of
from worker.claim import Claim, Claimer
from worker.outbox import deliver_suspension
from worker.plan import WorkerPlan

TENANTS = 10
SCRIPTS = {
    "sleep": "sleep(86400) return 1",
    "approval": 'return approval.request{ title = "Delete 3 assets?", details = { n = 3 } }',
}


async def _wait(client: redis.Redis, tape_redis: Any, claim: Claim, kind: str) -> None:
    body = {
        "seq": 1,
        "asked": ["run", None, kind],
        "name": f"run.{kind}",
        "account": None,
        "effect_class": "read",
        "arguments_sha256": "0" * 64,
        "for": kind,
        "until_ms": now_ms() + 86_400_000,
        "surface_sha256": digest_of(b"{}"),
    }
    await RedisTape(tape_redis, claim.run_id, claim.next_seq).append(Kind.WAITING, body)
    asked = Question("Delete 3 assets?", {"n": 3}) if kind == "approval" else None
    waits = [Wait(1, now_ms(), now_ms() + 86_400_000, asked)]
    usage = Usage(wall_ms=7, cpu_ms=2, calls=1)
    written = deliver_suspension(claim, Suspension(waits, usage)).written
    args = [claim.queue, claim.run_id, claim.execution, "bench", timestamp(now_ms()), *written]
    assert load("suspend").run(client, args) == 1


async def _make(url: str, kind: str, count: int) -> None:
    plan = WorkerPlan("bench", 16, lease_s=300)
    with connect(url) as client:
        async with connect_async(url) as pool:
            store = RunStore(pool, Terms(queue_max=count + 1, inbox_max=10 * count))
            claimer = Claimer(client, plan)
            for index in range(count):
                request = RunRequest(script=SCRIPTS[kind])
                await store.submit(f"tenant-{index % TENANTS}", request, key_id="key_bench")
                if index % 16 == 15 or index == count - 1:
                    for claim in _claims(claimer):
                        await _wait(client, pool, claim, kind)


def _claims(claimer: Claimer) -> list[Claim]:
    found: list[Claim] = []
    while more := claimer.claim(16):
        found += more
    return found


def _used(client: redis.Redis) -> int:
    # What the sequencer takes away within seconds is not part of what waits.
    client.delete(keys.LEDGER_INBOX)
    while client.info("memory")["lazyfree_pending_objects"]:
        time.sleep(0.01)  # the server frees it in a thread of its own
    return int(client.info("memory")["used_memory"])


def main() -> None:
    """Make them, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    count = parser.parse_args().runs
    for kind in SCRIPTS:
        with tempfile.TemporaryDirectory() as folder, PrivateRedis(Path(folder)) as server:
            with connect(server.url) as client:
                asyncio.run(_make(server.url, kind, 16))
                before = _used(client)
                asyncio.run(_make(server.url, kind, count))
                grown = _used(client) - before
                began_s = time.perf_counter()
                due = client.zrangebyscore(keys.WAITING, 0, now_ms(), 0, 64)
                looked_us = (time.perf_counter() - began_s) * 1e6
                assert due == []
                assert client.zcard(keys.WAITING) == count + 16
            print(f"{count} runs waiting ({kind}): {grown / 1e6:.1f} MB of Redis,")
            print(f"  {grown / count:.0f} bytes each; a look for those due: {looked_us:.0f} us")


if __name__ == "__main__":
    main()
