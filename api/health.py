"""Whether this process lives, and whether the service can take and execute runs."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any, cast

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.services import services_of
from core import keys

_READY_TTL_S = 60
_WORKERS = "rq:workers"

router = APIRouter(tags=["health"])


class Check(BaseModel):
    """One thing that must be so; `detail` says what was found."""

    ok: bool
    detail: str


class Readiness(BaseModel):
    """Whether runs can be accepted and executed."""

    ready: bool
    checks: dict[str, Check]


@router.get("/healthz", operation_id="health", summary="Does this process answer?")
async def healthz() -> dict[str, str]:
    """Answer without asking anybody else: an orchestrator restarts what does not."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    operation_id="readiness",
    summary="Can runs be accepted and executed?",
    responses={
        200: {"model": Readiness, "description": "All checks hold"},
        503: {"model": Readiness, "description": "`checks` says what is missing"},
    },
)
async def readyz(request: Request) -> Response:
    """Check that Redis answers and takes writes, and that a worker is alive."""
    services = services_of(request)
    checks = await check(services.redis, heartbeat_s=2 * services.settings.lease_s)
    if services.draining.is_set():
        checks["process"] = Check(ok=False, detail="this process was told to stop")
    ready = all(one.ok for one in checks.values())
    body = Readiness(ready=ready, checks=checks)
    return Response(
        orjson.dumps(body.model_dump()),
        status_code=200 if ready else 503,
        media_type="application/json",
    )


async def check(redis: Redis, *, heartbeat_s: int) -> dict[str, Check]:
    """
    Check Redis and the workers; what cannot be checked does not hold.

    A worker whose last sign of life is older than `heartbeat_s` seconds counts as dead.
    """
    started = time.monotonic()
    try:
        await redis.set(keys.READY, int(time.time()), ex=_READY_TTL_S)
        workers = await _live_workers(redis, heartbeat_s)
    except RedisError as error:
        away = Check(ok=False, detail=f"Redis takes no writes ({type(error).__name__})")
        return {"redis": away, "workers": Check(ok=False, detail="not known without Redis")}
    took_ms = (time.monotonic() - started) * 1000
    return {
        "redis": Check(ok=True, detail=f"answered and took a write in {took_ms:.1f} ms"),
        "workers": Check(ok=workers > 0, detail=f"{workers} alive"),
    }


async def _live_workers(redis: Redis, heartbeat_s: int) -> int:
    names = await cast("Any", redis.smembers(_WORKERS))
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.hmget(name, "last_heartbeat", "death")
    rows = await pipe.execute() if names else []
    ages_s = [_age_s(heartbeat) for heartbeat, death in rows if death is None]
    return sum(age_s < heartbeat_s for age_s in ages_s)


def _age_s(heartbeat: bytes | None) -> float:
    try:
        at = datetime.fromisoformat((heartbeat or b"").decode())
    except ValueError:
        return math.inf
    return (datetime.now(UTC) - at.replace(tzinfo=at.tzinfo or UTC)).total_seconds()
