"""Runs that come to wait: what they execute, how they are let go, and how a person answers."""

from __future__ import annotations

import redis
import redis.asyncio

from core.clock import now_ms
from integrations.waits import Decision, Question, Wait
from runs.approvals import ApprovalStore
from runs.model import Approval, RunRequest, State
from runs.redis_scripts import Arg, load
from runs.rq_job import timestamp
from runs.store import RunStore
from runs.suspension import Suspension
from sandbox.outcome import Usage
from tests.integration.run_watching import TENANT, in_state
from worker.claim import Claim
from worker.outbox import deliver_suspension

SLEEPER = RunRequest(
    script="""
    print("before")
    local began = os.time()
    sleep(2)
    print("after")
    return os.time() - began
    """
)

ASKER = RunRequest(
    script="""
    print("before")
    local said = approval.request{ title = "Go on?", details = { rows = 3 } }
    print("after")
    return { said.approved, said.by, said.comment }
    """
)

#: Waits of 50 ms are long in these tests.
SOON = {"wait_in_place_ms": 50}

FAR_MS = 3_600_000


async def asked(store: RunStore, approvals: ApprovalStore, run_id: str) -> Approval:
    """Wait until a run asks something, and give it."""
    await in_state(store, run_id, State.WAITING)
    [approval], _ = await approvals.page(TENANT)
    assert approval.run == run_id
    return approval


async def answer(approvals: ApprovalStore, one: Approval, decision: Decision) -> Approval:
    """Answer as a person with a key would."""
    return await approvals.answer(TENANT, one.run, one.n, decision, by="key_2", comment="well")


def suspend(client: redis.Redis, claim: Claim, *waits: Wait) -> int:
    """Let go of a run as a worker does; give SUSPEND's answer."""
    said = deliver_suspension(claim, Suspension(waits, Usage(wall_ms=7), "printed\n"))
    args: list[Arg] = [claim.queue, claim.run_id, claim.execution, "vanished", timestamp(now_ms())]
    return int(load("suspend").run(client, [*args, *said.written]))


def sleep_to(until_ms: int) -> Wait:
    """Make a sleep, the first call of its run."""
    return Wait(1, now_ms(), until_ms)


def question(until_ms: int) -> Wait:
    """Make a question, the second call of its run."""
    return Wait(2, now_ms(), until_ms, Question("Go on?"))
