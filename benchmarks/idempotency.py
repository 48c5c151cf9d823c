"""Requests that are sent again: how many runs they make, and what a key and quotas cost."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import httpx2

from benchmarks.figures import Row, median, percentile, spread
from core import keys
from core.redis_client import connect_async
from core.settings import Settings
from moonsand.local_service import Plan, Running, local_service
from tenancy.tenants import DEVELOPMENT

ROUNDS = 5
AT_ONCE = 50
REQUESTS = 150
_BODY = {"script": "return 1", "name": "bench"}
_QUOTAS = ("runs_per_minute", "runs_per_day", "instructions_per_minute", "instructions_per_day")
_PLENTY = 10**12


async def _post(client: httpx2.AsyncClient, key: str | None = None) -> httpx2.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post("/v1/runs", json=_BODY, headers=headers)


async def _identical(client: httpx2.AsyncClient) -> tuple[int, Counter[int]]:
    """Send the same request many times at once; give the runs that were made, and the answers."""
    key = uuid.uuid4().hex
    answers = await asyncio.gather(*(_post(client, key) for _ in range(AT_ONCE)))
    again = await _post(client, key)
    assert again.headers["idempotent-replayed"] == "true", again.text
    made = {one.json()["id"] for one in (*answers, again) if one.status_code == 202}
    return len(made), Counter(one.status_code for one in answers)


async def _p50_ms(client: httpx2.AsyncClient, *, fresh: bool = False, same: str = "") -> float:
    took = []
    for _ in range(REQUESTS):
        key = uuid.uuid4().hex if fresh else same or None
        began = time.perf_counter()
        answer = await _post(client, key)
        took.append((time.perf_counter() - began) * 1000)
        assert answer.is_success, answer.text
    return percentile(took, 0.5)


async def _terms(service: Running, *, there: bool) -> None:
    async with connect_async(service.redis_url) as redis:
        if there:
            for quota in _QUOTAS:
                await redis.hset(keys.terms(DEVELOPMENT), quota, str(_PLENTY))
        else:
            await redis.delete(keys.terms(DEVELOPMENT))


async def sent_again() -> list[Row]:
    """Measure identical submissions at once, and a submission plain, with a key, with quotas."""
    made: list[int] = []
    answered: Counter[int] = Counter()
    plain: list[float] = []
    fresh: list[float] = []
    again: list[float] = []
    counted: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        settings = Settings(port=0, slots=2, log_level="warning", queue_max=1_000_000)
        plan = Plan(settings, root, log=root / "log", notice=lambda _: None)
        async with (
            local_service(plan) as service,
            httpx2.AsyncClient(
                base_url=service.url,
                headers={"Authorization": f"Bearer {service.key}"},
                trust_env=False,
                timeout=60,
            ) as client,
        ):
            for _ in range(ROUNDS):
                runs, answers = await _identical(client)
                made.append(runs)
                answered += answers
                plain.append(await _p50_ms(client))
                fresh.append(await _p50_ms(client, fresh=True))
                again.append(await _p50_ms(client, same=f"same{len(again)}"))
                await _terms(service, there=True)
                counted.append(await _p50_ms(client))
                await _terms(service, there=False)
    told = ", ".join(f"{count} x {status}" for status, count in sorted(answered.items()))
    ratio = median([a / b for a, b in zip(fresh, plain, strict=True)])
    return [
        Row(
            f"runs made by {AT_ONCE} identical submissions at once, {ROUNDS} times",
            f"{sum(made)} ({told})",
            "",
            "",
            f"{ROUNDS}",
        ),
        Row(
            "POST /v1/runs with a new Idempotency-Key, p50",
            spread(fresh, "ms"),
            "without one: " + spread(plain, "ms"),
            f"{ratio:.2f}",
            "",
        ),
        Row("the same request answered again, p50", spread(again, "ms"), "", "", ""),
        Row(
            "POST /v1/runs counted in four quotas, p50",
            spread(counted, "ms"),
            "without quotas: " + spread(plain, "ms"),
            f"{median([a / b for a, b in zip(counted, plain, strict=True)]):.2f}",
            "",
        ),
    ]
