"""The routes of plans: what a run planned, and its approval."""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Depends, Request, Response

from api.auth import Approver, Reader
from api.bodies import read_model
from api.runs import check_run_id, no_such_run, only_known_parameters
from api.schema import json_body
from api.services import services_of
from api.shapes import PlanApprovalBody, PlanState
from core.errors import NotFound
from runs.plans import KeptPlan, Plans

router = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=[Depends(only_known_parameters)])


@router.get(
    "/{run_id}/plan",
    operation_id="get_plan",
    summary="Show the plan of a run",
    responses={200: {"model": PlanState, "description": "The writes it would make, in order"}},
)
async def get_plan(request: Request, run_id: str, key: Reader) -> Response:
    """Show what a run of `mode` `plan` would write, whether it is approved, and what applied it."""
    check_run_id(run_id)
    return _answer(await _plans(request).get(key.tenant, run_id))


@router.post(
    "/{run_id}/plan/approve",
    operation_id="approve_plan",
    summary="Approve the plan of a run",
    openapi_extra=json_body("PlanApprovalBody"),
    responses={200: {"model": PlanState, "description": "It may be applied, once"}},
)
async def approve_plan(request: Request, run_id: str, key: Approver) -> Response:
    """Approve exactly the plan with this digest, once. Who and when goes into the ledger."""
    check_run_id(run_id)
    body = await read_model(request, PlanApprovalBody)
    try:
        kept = await _plans(request).approve(
            key.tenant, run_id, digest=body.digest, comment=body.comment, key_id=key.id
        )
    except NotFound:
        raise no_such_run() from None
    return _answer(kept)


def _plans(request: Request) -> Plans:
    services = services_of(request)
    return Plans(services.redis, services.store)


def _answer(kept: KeptPlan) -> Response:
    return Response(orjson.dumps(kept.to_json()), media_type="application/json")
