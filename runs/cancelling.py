"""Ending a run because somebody asked for it: at once if nobody executes it, else by its worker."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys
from runs.endings import Ending, cancelled_while_queued, error_json, tape_body
from runs.redis_scripts import Arg, load
from runs.rq_job import timestamp
from sandbox.outcome import Fault, Reason, Usage

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Seconds for which a running run's worker can find out that it is to end it.
_FLAG_S = 2 * 3_600
_LOOKS = 5


async def cancel(redis: Redis, tenant: str, run_id: str) -> str | None:
    """
    Cancel a run; give the state that it was in, None when this tenant has no such run.

    Raises:
        RedisError: Redis did not confirm; it may have been cancelled or not.
    """
    for _ in range(_LOOKS):
        now_ms = time.time_ns() // 1_000_000
        body, error, attempt = await _ending(redis, run_id)
        args: list[Arg] = [run_id, tenant, now_ms, now_ms // 1000, timestamp(now_ms)]
        args += [body, error, _FLAG_S, attempt]
        found: Any = await load("cancel").run_async(redis, args)
        if found != b"changed":
            return found.decode() if found is not None else None
    return "running"  # it goes on and waits so fast that nobody can say what it did


async def _ending(redis: Redis, run_id: str) -> tuple[bytes, bytes, int]:
    """Give the tape's body and the error of the run's end, and the attempt they tell of."""
    names = ["state", "attempt", "output", "usage"]
    found = await cast("Awaitable[list[bytes | None]]", redis.hmget(keys.run(run_id), names))
    state, attempt, output, usage = found
    if state != b"waiting":
        return (*cancelled_while_queued(), 0)
    ending = Ending(
        Reason.CANCELLED,
        usage=Usage(**orjson.loads(usage)) if usage else Usage(),
        output=(output or b"").decode(),
        error=Fault("cancelled on request while it waited"),
    )
    number = int(attempt or 0)
    return tape_body(ending, number), orjson.dumps(error_json(ending)), number
