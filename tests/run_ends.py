"""Ends of queued runs of a batch, as a cancel or a worker would bring them about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core import keys
from core.clock import now_ms
from runs.endings import state_of
from runs.redis_scripts import load
from runs.store import RunStore
from sandbox.outcome import Reason

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def end(redis: Redis, tenant: str, ids: list[str]) -> None:
    """End queued runs."""
    for one in ids:
        await RunStore(redis).cancel(tenant, one)


async def fail(redis: Redis, ids: list[str], reason: str = "script_error") -> None:
    """End queued runs as failed, as a worker would."""
    for one in ids:
        await end_as(redis, one, reason)


async def end_as(redis: Redis, run_id: str, reason: str) -> None:
    """End one run with a reason, in the step that every end of a run passes."""
    text = f"{load('lib_end').text}\nend_run(ARGV[1], ARGV[2], ARGV[3], ARGV[4], '{{}}', {{}})"
    state = str(state_of(Reason(reason)))
    queue = f"rq:queue:{keys.queue('acme')}"
    await redis.lrem(queue, 0, run_id)
    answer: Any = redis.eval(text, 0, run_id, now_ms(), state, reason)
    await answer
