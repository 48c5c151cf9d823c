"""
Ending many runs because somebody asked for it: some by their ids, or all of a tenant by kind.

Which runs are meant is found out in one step: those that are queued, wait, or are in the hands of
a worker. Each of them is then ended wherever it has got to by then; runs accepted later stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from core import keys
from runs.cancelling import cancel
from runs.endings import cancelled_while_queued
from runs.model import CancelledRuns, Priority, State
from runs.redis_scripts import Arg, load

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Runs of one queue that one call looks at.
MAX_AT_ONCE = 100_000
#: States that a run can be cancelled in.
ACTIVE = frozenset({State.QUEUED, State.WAITING, State.RUNNING})
_IN_A_STEP = 100
_IN_A_LOOK = 500
_SIDE_BY_SIDE = 16


@dataclass(frozen=True, slots=True)
class Chosen:
    """
    Which of a tenant's active runs are meant: those that are all of this; None leaves it open.

    `origin_id` is the id of what started them, such as a batch or a schedule.
    """

    states: frozenset[State] = ACTIVE
    priority: Priority | None = None
    name: str | None = None
    script_ref: str | None = None
    origin_id: str | None = None

    def wanted(self) -> dict[str, bytes | None]:
        """Give the fields of the record and the values they must have; None: to be absent."""
        fields = {"name": self.name, "script_ref": self.script_ref, "origin_id": self.origin_id}
        wanted: dict[str, bytes | None] = {
            name: value.encode() for name, value in fields.items() if value is not None
        }
        if self.priority is not None:
            usual = self.priority is Priority.NORMAL
            wanted["priority"] = None if usual else self.priority.value.encode()
        return wanted


async def cancel_runs(
    redis: Redis, tenant: str, ids: Sequence[str], states: frozenset[State] = ACTIVE
) -> CancelledRuns:
    """
    Cancel those runs of a tenant that are in one of `states`; ids that are not its runs count not.

    Raises:
        RedisError: Redis did not confirm; some may have been cancelled. Asking again is harmless.
    """
    left, ended, stopping = list(ids), 0, 0
    if State.QUEUED in states:
        left = []
        for at in range(0, len(ids), _IN_A_STEP):
            some = ids[at : at + _IN_A_STEP]
            args: list[Arg] = [tenant, *cancelled_while_queued(), *some]
            found: Any = await load("cancel_many").run_async(redis, args)
            ended += found.count(State.QUEUED.encode())
            going = (State.RUNNING.encode(), State.WAITING.encode())
            left += [one for one, state in zip(some, found, strict=True) if state in going]
    for at in range(0, len(left), _SIDE_BY_SIDE):
        each = [_cancel_one(redis, tenant, one, states) for one in left[at : at + _SIDE_BY_SIDE]]
        outcomes = await asyncio.gather(*each)
        ended += sum(state in {State.QUEUED, State.WAITING} for state in outcomes)
        stopping += outcomes.count(State.RUNNING)
    return CancelledRuns(ended=ended, stopping=stopping)


async def cancel_chosen(redis: Redis, tenant: str, chosen: Chosen) -> CancelledRuns:
    """
    Cancel all active runs of a tenant that are meant, as they are at this moment.

    Raises:
        RedisError: as `cancel_runs`.
    """
    ids, more = await _active(redis, tenant, chosen.states)
    done = await cancel_runs(redis, tenant, await _meant(redis, ids, chosen), chosen.states)
    return done.model_copy(update={"has_more": more})


async def _cancel_one(
    redis: Redis, tenant: str, run_id: str, states: frozenset[State]
) -> str | None:
    if states != ACTIVE:
        state = await cast("Awaitable[bytes | None]", redis.hget(keys.run(run_id), "state"))
        if state is None or state.decode() not in states:
            return None
    return await cancel(redis, tenant, run_id)


async def _active(redis: Redis, tenant: str, states: frozenset[State]) -> tuple[list[str], bool]:
    """Give the ids of a tenant's active runs, and whether it has even more."""
    pipeline = redis.pipeline(transaction=True)
    last = MAX_AT_ONCE - 1
    for queue in keys.queues(tenant):
        # Both have runs in other states too: one that goes on after its worker was lost stands in
        # its queue, and one that a key's own cap holds back is scheduled.
        pipeline.lrange(f"rq:queue:{queue}", 0, last)
        pipeline.zrange(f"rq:scheduled:{queue}", 0, last)
        if State.RUNNING in states:
            pipeline.zrange(f"rq:wip:{queue}", 0, last)
    found: list[list[bytes]] = await pipeline.execute()
    ids = dict.fromkeys(one.decode().partition(":")[0] for some in found for one in some)
    return list(ids), any(len(some) > last for some in found)


async def _meant(redis: Redis, ids: Sequence[str], chosen: Chosen) -> list[str]:
    wanted = chosen.wanted()
    if not wanted:
        return list(ids)
    meant = []
    for at in range(0, len(ids), _IN_A_LOOK):
        some = ids[at : at + _IN_A_LOOK]
        pipeline = redis.pipeline(transaction=False)
        for one in some:
            pipeline.hmget(keys.run(one), list(wanted))
        rows = await pipeline.execute()
        values = list(wanted.values())
        meant += [one for one, row in zip(some, rows, strict=True) if row == values]
    return meant
