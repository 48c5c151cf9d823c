"""The route that stops many runs: all of a tenant, or those that are of a kind."""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Depends, Request, Response

from api.auth import Writer
from api.bodies import read_model
from api.cancelling_body import CancelBody
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import services_of
from core.errors import Invalid
from runs.cancelling_many import ACTIVE, Chosen, cancel_chosen
from runs.model import CancelledRuns, Priority, State
from runs.store import redis_errors

router = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=[Depends(only_known_parameters)])


@router.post(
    "/cancel",
    operation_id="cancel_runs",
    summary="Stop many runs",
    openapi_extra=json_body("CancelBody"),
    responses={200: {"model": CancelledRuns, "description": "How many were stopped"}},
)
async def cancel_runs(request: Request, key: Writer) -> Response:
    """Stop all runs of the tenant, or some, as they are now. Asked again it stops what is left."""
    chosen = _chosen(await read_model(request, CancelBody))
    with redis_errors("some runs may have been cancelled; asking again is harmless"):
        done = await cancel_chosen(services_of(request).redis, key.tenant, chosen)
    return Response(orjson.dumps(done.model_dump()), media_type="application/json")


def _chosen(body: CancelBody) -> Chosen:
    named = body.model_dump(exclude={"all"}, exclude_none=True)
    if body.all == bool(named):
        detail = "`all` stands alone" if named else "name which runs to stop, or say `all`"
        raise Invalid(detail, pointer="/all")
    return Chosen(
        states=ACTIVE if body.state is None else frozenset(State(one) for one in body.state),
        priority=None if body.priority is None else Priority(body.priority),
        name=body.name,
        script_ref=body.script_ref,
        origin_id=body.origin_id,
    )
