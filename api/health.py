"""Whether this process lives, and whether the service can take and execute runs."""

from __future__ import annotations

import orjson
import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from redis.exceptions import RedisError

from api.services import Services, services_of
from runs.survey import Vitals, vitals

#: What an orchestrator waits for an answer, less some.
WITHIN_S = 2.0
#: From here on the ledger counts as behind, long before runs are refused for it.
_BEHIND_S = 60.0
_GUIDE = "see docs/operations.md"

router = APIRouter(tags=["health"])


class Check(BaseModel):
    """One part of the service: what was found, and what to do if it is not as it should be."""

    ok: bool
    needed: bool = Field(
        default=True, description="Whether runs are refused or stand still while it is not `ok`."
    )
    detail: str
    hint: str | None = Field(default=None, description="What to do about it.")


class Readiness(BaseModel):
    """Whether runs can be accepted and executed: every part that is needed is as it should be."""

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
        200: {"model": Readiness, "description": "All that is needed is there"},
        503: {"model": Readiness, "description": "`checks` says what is missing"},
    },
)
async def readyz(request: Request) -> Response:
    """Check Redis, the workers, the ledger and the scheduler, within two seconds."""
    services = services_of(request)
    checks = await check(services)
    if services.draining.is_set():
        checks["process"] = Check(ok=False, detail="this process was told to stop")
    ready = all(one.ok or not one.needed for one in checks.values())
    body = Readiness(ready=ready, checks=checks)
    return Response(
        orjson.dumps(body.model_dump(exclude_none=True)),
        status_code=200 if ready else 503,
        media_type="application/json",
    )


async def check(services: Services) -> dict[str, Check]:
    """Check every part; what cannot be checked is not as it should be."""
    settings = services.settings
    try:
        found = await vitals(services.redis, silence_s=2 * settings.lease_s, within_s=WITHIN_S)
    except (RedisError, OSError, TimeoutError) as error:
        structlog.get_logger(__name__).warning("redis_away", error=type(error).__name__)
        return _without_redis(error)
    return {
        "redis": _redis(found),
        "workers": _workers(found),
        "ledger": _ledger(found, settings.ledger_inbox_max),
        "scheduler": _scheduler(found),
    }


def _without_redis(error: Exception) -> dict[str, Check]:
    # asyncio's own TimeoutError and redis-py's have one name and mean the same here.
    away = Check(
        ok=False,
        detail=f"Redis does not answer ({type(error).__name__})",
        hint=f"is it running, and is REDIS_URL right? {_GUIDE}",
    )
    unknown = Check(ok=False, detail="not known without Redis")
    return {"redis": away, "workers": unknown, "ledger": unknown, "scheduler": unknown}


def _redis(found: Vitals) -> Check:
    took = f"{found.answered_s * 1000:.1f} ms"
    if found.refusal is None:
        return Check(ok=True, detail=f"answered and took a write in {took}")
    full = found.memory_limit_bytes and found.memory_bytes >= found.memory_limit_bytes
    if full:
        limit_mb = found.memory_limit_bytes / 1e6
        detail, hint = f"Redis takes no writes: its {limit_mb:.0f} MB are full", "raise maxmemory"
    else:
        detail, hint = "Redis takes no writes", "look at its log and its disk"
    return Check(ok=False, detail=detail, hint=f"{hint}; {_GUIDE}")


def _workers(found: Vitals) -> Check:
    detail = f"{found.workers} alive"
    if found.workers:
        return Check(ok=True, detail=f"{detail}, {found.running} of {found.slots} slots busy")
    return Check(ok=False, detail=detail, hint=f"start `moonsand worker`; {_GUIDE}")


def _ledger(found: Vitals, inbox_max: int) -> Check:
    waits = f"{found.inbox} of at most {inbox_max} entries wait"
    if found.inbox:
        waits += f", the oldest for {found.inbox_oldest_s:.0f} s"
    full = found.inbox >= inbox_max
    hint = "look at the sequencer's log and its disk" if found.sequencer else None
    if not found.sequencer:
        waits, hint = f"no sequencer is at work; {waits}", "start `moonsand sequencer`"
    if full:
        waits += ": no run is accepted"
    ok = found.sequencer and not full and found.inbox_oldest_s < _BEHIND_S
    return Check(ok=ok, needed=full, detail=waits, hint=None if ok else f"{hint}; {_GUIDE}")


def _scheduler(found: Vitals) -> Check:
    if found.schedulers:
        return Check(ok=True, needed=False, detail=f"{found.schedulers} alive")
    detail = "none alive: batches, schedules, syncs and callbacks stand still"
    hint = f"start `moonsand scheduler`; {_GUIDE}"
    return Check(ok=False, needed=False, detail=detail, hint=hint)
