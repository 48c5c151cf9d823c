"""What both clients ask of plans."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from core.plans import Plan
from moonsand.exchange import Ask
from runs.model import RunRecord


class PlanState(BaseModel):
    """
    The plan of a run: `state` is `pending`, `approved` or `applied`.

    `approval` says by whom and when, `applied_by` is the id of the run that applies it.
    """

    run: str
    state: str
    approval: dict[str, Any] | None = None
    applied_by: str | None = None
    plan: Plan


def get_plan(run_id: str) -> Ask[PlanState]:
    """Ask for the plan of a run."""
    return Ask("GET", f"/v1/runs/{run_id}/plan", PlanState.model_validate)


def approve_plan(run_id: str, digest: str, comment: str | None) -> Ask[PlanState]:
    """Ask for the approval of a plan."""
    body = {"digest": digest} | ({"comment": comment} if comment is not None else {})
    return Ask("POST", f"/v1/runs/{run_id}/plan/approve", PlanState.model_validate, json=body)


def apply_plan(
    run_id: str, digest: str | None, idempotency_key: str | None, wait_s: float
) -> Ask[RunRecord]:
    """Ask for the run that applies a plan."""
    body: dict[str, Any] = {"mode": "apply", "plan": run_id}
    if digest is not None:
        body["plan_digest"] = digest
    if idempotency_key is not None:
        body["idempotency_key"] = idempotency_key
    if wait_s:
        body["wait_s"] = wait_s
    read = RunRecord.model_validate
    return Ask("POST", "/v1/runs", read, json=body, timeout_s=30.0 + wait_s)
