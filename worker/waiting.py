"""
How the calls of one attempt may wait: what was answered meanwhile, and what time is left.

Runs in: worker. Trusts: Redis and its clock. Refuses: nothing.
May import: integrations, ledger, runs, redis.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import orjson
from redis.exceptions import RedisError

from core import keys
from integrations.waits import WaitTerms
from ledger.tape import TapeError
from runs.approvals import ApprovalStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from ledger.recording import Recording
    from runs.spec import RunSpec
    from worker.plan import WorkerPlan


async def may_wait(
    redis: Redis, plan: WorkerPlan, spec: RunSpec, recording: Recording | None
) -> tuple[RunSpec, WaitTerms]:
    """
    Give the terms of an attempt, and its spec with the time that was used before it waited.

    Raises:
        TapeError: Redis did not say what was answered.
    """
    terms = WaitTerms(
        until_ms=spec.clock_ms + plan.wait_max_s * 1000, in_place_ms=plan.wait_in_place_ms
    )
    if recording is None or all(call.wait is None for call in recording.calls.values()):
        return spec, terms
    try:
        used = await cast("Awaitable[bytes | None]", redis.hget(keys.run(spec.run_id), "usage"))
        clock_ms, answers = await ApprovalStore(redis).answers(spec.run_id)
    except (RedisError, OSError) as lost:
        raise TapeError("Redis did not give the answers to what the run asked") from lost
    spec = replace(spec, executed_ms=orjson.loads(used or b"{}").get("wall_ms", 0))
    return spec, replace(terms, now_ms=clock_ms, answers=answers)
