"""The service as shipped: HTTP latency on an idle queue, and worker throughput beside RQ's own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis
import redis.asyncio
from rq import Queue
from rq.job import Job

from benchmarks.figures import Row, median, percentile, spread
from benchmarks.peer_job import no_op
from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from core.settings import Settings, slots_here
from moonsand.client import AsyncClient
from moonsand.local_service import Plan, local_service
from runs.model import RunRequest
from runs.store import RunStore

ROUNDS = 5
REQUESTS = 60
GAP_S = 0.03
OUR_RUNS = 1_500
THEIR_JOBS = 120
SLOTS = slots_here()
_NO_OP = RunRequest(script="return 1")


async def _submit_to_result_ms(client: AsyncClient, pause_s: float) -> float:
    took = []
    for _ in range(REQUESTS):
        await asyncio.sleep(pause_s)
        began = time.perf_counter()
        record = await client.submit_request(_NO_OP, wait_s=10)
        took.append((time.perf_counter() - began) * 1000)
        assert record.result == 1, record
    return percentile(took, 0.5)


async def http_latency() -> list[Row]:
    """
    Measure POST /v1/runs with wait_s until the result is in the answer, nothing else queued.

    With a pause before each the processors have gone to sleep and their caches are somebody else's:
    that is how an idle service is met, and the figure that counts. Without one it is what the
    service itself takes.
    """
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(port=0, slots=SLOTS, log_level="warning")
        root = Path(directory)
        plan = Plan(settings, root, log=root / "log", notice=lambda _: None)
        async with (
            local_service(plan) as service,
            AsyncClient(service.url, service.key) as client,
        ):
            await client.submit_request(_NO_OP, wait_s=10)
            rounds, at_once = [], []
            for _ in range(ROUNDS):
                rounds.append(await _submit_to_result_ms(client, GAP_S))
                at_once.append(await _submit_to_result_ms(client, 0.0))
    title = "submit to result over HTTP, idle queue, p50"
    return [
        Row(title, spread(rounds, "ms"), "", "", "<= 15 ms"),
        Row(f"{title}, one right after the other", spread(at_once, "ms"), "", "", ""),
    ]


async def _drain_ours(url: str) -> float:
    async with connect_async(url) as client:
        store = RunStore(client)
        for _ in range(OUR_RUNS):
            await store.submit("bench", _NO_OP, key_id="bench")
        command = [sys.executable, "-m", "moonsand", "worker", "--slots", str(SLOTS), "--burst"]
        await asyncio.to_thread(_run, command, url)
        began, ended, cursor, count = 1 << 62, 0, None, 0
        while True:
            page, cursor = await store.page("bench", cursor=cursor, limit=200)
            for record in page:
                assert record.reason == "ok", record
                assert record.started_ms is not None
                assert record.ended_ms is not None
                began, ended = min(began, record.started_ms), max(ended, record.ended_ms)
                count += 1
            if cursor is None:
                break
    assert count == OUR_RUNS, count
    return count * 1000 / (ended - began)


def _drain_theirs(client: redis.Redis, url: str) -> float:
    queue = Queue("peer", connection=client, serializer="json")
    jobs = [queue.enqueue(no_op, 1, result_ttl=600) for _ in range(THEIR_JOBS)]
    command = [sys.executable, "-m", "rq.cli", "worker", "peer", "--burst", "--quiet", "-S", "json"]
    _run([*command, "--url", url], url)
    done = Job.fetch_many([job.id for job in jobs], connection=client, serializer="json")
    began = min(job.started_at for job in done if job and job.started_at)
    ended = max(job.ended_at for job in done if job and job.ended_at)
    return float(len(jobs) / (ended - began).total_seconds())


def _run(command: list[str], url: str) -> None:
    environment = {"REDIS_URL": url, "PATH": "/usr/bin:/bin", "MOONSAND_LOG_LEVEL": "warning"}
    subprocess.run(command, env=environment, check=True, timeout=120, cwd=Path.cwd())


async def throughput() -> list[Row]:
    """Measure no-op runs a second in one worker process, beside RQ's forking Worker."""
    ours, theirs = [], []
    with (
        tempfile.TemporaryDirectory() as directory,
        PrivateRedis(Path(directory)) as server,
        connect(server.url) as client,
    ):
        for _ in range(ROUNDS):
            client.flushall()
            ours.append(await _drain_ours(server.url))
            theirs.append(await asyncio.to_thread(_drain_theirs, client, server.url))
    ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
    return [
        Row(
            f"no-op runs a second, one worker, {SLOTS} slots, jailed child each",
            spread(ours, "/s", 0),
            "RQ Worker, Python no-op: " + spread(theirs, "/s", 0),
            f"{ratio:.1f}",
            ">= 10",
        )
    ]
