"""
Taking runs from the queues: the CLAIM script's call and its reply.

Runs in: worker. Trusts: Redis. Refuses: a job that is not `moonsand.run(<its own id>)`.
May import: runs, redis.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from redis.exceptions import OutOfMemoryError

from core import keys
from core.errors import Conflict, Invalid
from core.plans import Mode, Plan
from runs.expiring import EXPIRED_ARGS
from runs.redis_scripts import Arg, load
from runs.rq_job import ForeignJob, check_job, timestamp
from runs.spec import RunSpec
from sandbox.limits import Limits
from sandbox.outcome import Reason
from tenancy.grants import Grants
from tenancy.vault import VaultState

if TYPE_CHECKING:
    from redis import Redis

    from worker.plan import WorkerPlan

MAX_BATCH = 16
_HELD_S = 0.2
#: CLAIM's answer while Redis is full.
_FULL = -1

#: An execution's id has to be new, not secret: the kernel's generator costs more than the claim.
_randbits = random.Random(os.urandom(32)).getrandbits  # noqa: S311


class Verdict(StrEnum):
    """What the CLAIM script found out about a job that it took."""

    RUN = "run"
    SETTLED = "settled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Claim:
    """
    One job that this worker holds the lease of.

    `started` is the Unix time in seconds, as text, at which Redis gave it out. `next_seq` is the
    tape's next sequence number. `spec` is there when it is to be executed, `settled` when its run
    ended before, `refusal` when the job is none of ours. `cancelled`: somebody asked for that
    before anybody could execute it. `tape_lost`: a restarted Redis lost a write's intent.
    `vault` is the sealed state of the tenant's vault at that moment.
    """

    queue: str
    run_id: str
    execution: str
    started: str
    attempt: int
    next_seq: int
    verdict: Verdict
    spec: RunSpec | None = None
    settled: Reason | None = None
    refusal: str | None = None
    cancelled: bool = False
    tape_lost: bool = False
    vault: VaultState = (None, None)

    @property
    def key(self) -> str:
        """Give the name of the lease, as RQ's started-job registry spells it."""
        return f"{self.run_id}:{self.execution}"


class Turn(NamedTuple):
    """A tenant that was taken off the ring, and its place there."""

    tenant: str
    due: float


class Claimer:
    """Takes jobs for one worker."""

    def __init__(self, redis: Redis, plan: WorkerPlan) -> None:
        self._redis = redis
        self._plan = plan
        self._unanswered: list[str] = []

    def claim(self, want: int, turn: Turn | None = None) -> list[Claim] | None:
        """
        Take up to `want` jobs, first the one whose `turn` was taken off the ring.

        None means that RQ's workers are suspended.

        Raises:
            OutOfMemoryError: Redis is full, and nothing was taken.
            RedisError: no confirmation. What was taken all the same is given by the next call.
        """
        want, again = min(want, MAX_BATCH), bool(self._unanswered)
        # The same ids once more: by them the script knows what it took for us and we never saw.
        executions = self._unanswered or [f"{_randbits(128):032x}" for _ in range(want)]
        self._unanswered = executions
        args: list[Arg] = [len(executions), self._plan.lease_s, self._plan.name]
        tenant, due = turn or ("", 0.0)
        args += [timestamp(time.time_ns() // 1_000_000), self._plan.share, tenant, int(again)]
        rows = load("claim").run(self._redis, [*args, *EXPIRED_ARGS, repr(due), *executions])
        if rows is None:
            return None
        if rows == _FULL:
            raise OutOfMemoryError("Redis is full; nothing is begun")
        if rows == 0:  # Redis was restarted a moment ago
            time.sleep(_HELD_S)
            return []
        self._unanswered = []
        return [_read(row) for row in rows]

    def wait(self, timeout_s: float) -> Turn | None:
        """Wait for a tenant with something queued and take it off the ring."""
        popped: Any = self._redis.bzpopmin(keys.RING, timeout_s)
        return Turn(popped[1].decode(), popped[2]) if popped else None

    def give_back(self, turn: Turn) -> None:
        """Put a tenant that was taken off the ring back on it, in its place."""
        self._redis.zadd(keys.RING, {turn.tenant: turn.due}, nx=True)


def _read(row: Sequence[Any]) -> Claim:
    verdict, queue, run_id, execution, started = (part.decode() for part in row[:5])
    data, attempt, clock_ms, tape_length = row[5:9]
    settled = row[16]
    given: dict[str, Any] = {
        "queue": queue,
        "run_id": run_id,
        "execution": execution,
        "started": started,
        "attempt": attempt,
        "next_seq": tape_length + 1,
        "verdict": Verdict(verdict),
        "settled": Reason(settled.decode()) if settled else None,
        "cancelled": bool(row[18]),
        "tape_lost": bool(row[19]),
        "vault": (row[22], row[23]),
    }
    try:
        check_job(run_id, data)
        given["spec"] = _held(_spec(given, int(clock_ms), [*row[9:16], row[17]]), row[20], row[21])
    except ForeignJob as foreign:
        given["refusal"] = str(foreign)
    return Claim(**given)


def _spec(given: dict[str, Any], clock_ms: int, record: Sequence[bytes | None]) -> RunSpec | None:
    if given["verdict"] is Verdict.UNKNOWN:
        raise ForeignJob("there is no record of this run; it may have expired")
    if given["verdict"] is not Verdict.RUN:
        return None
    tenant, name, script, input_, limits, grants, seed, on_unknown = record
    if not (tenant and name and script and input_ and limits and seed):
        raise ForeignJob("the record of this run is not whole")
    return RunSpec(
        run_id=given["run_id"],
        tenant=tenant.decode(),
        name=name.decode(),
        script=script,
        input=input_,
        limits=_limits(limits),
        seed=int(seed),
        clock_ms=clock_ms,
        grants=_grants(grants or b"null"),
        attempt=given["attempt"],
        raises=on_unknown == b"raise",
    )


def _held(spec: RunSpec | None, mode: bytes | None, plan: bytes | None) -> RunSpec | None:
    """Say how the run makes its writes; one held to a plan has to be what the plan was made of."""
    if spec is None or mode in {None, b"run"}:
        return spec
    if mode == b"plan":
        return replace(spec, mode=Mode.PLAN)
    try:
        held = Plan.read(plan or b"")
        held.terms.check(spec.plan_terms())
    except Conflict as wrong:
        raise ForeignJob(wrong.detail) from None
    if mode != b"apply":
        raise ForeignJob("the record of this run names no mode that there is")
    return replace(spec, mode=Mode.APPLY, plan=held)


@lru_cache(maxsize=256)
def _grants(text: bytes) -> Grants:
    try:
        return Grants.of_json(orjson.loads(text))
    except (ValueError, Invalid):
        raise ForeignJob("the grants in the record of this run cannot be read") from None


@lru_cache(maxsize=256)
def _limits(text: bytes) -> Limits:
    return Limits.from_json(orjson.loads(text))
