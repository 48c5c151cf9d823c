"""
The routes of approvals: what runs ask of a person, and the answers.

Whoever answers needs the scope `runs:approve`, which no key has unless it was given: a key that
starts runs does not approve what they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from redis.exceptions import RedisError

from api.auth import Approver, Reader
from api.bodies import read_model
from api.listing import Cursor, page_answer, wrong_cursor
from api.runs import check_run_id, only_known_parameters
from api.schema import json_body
from api.services import services_of
from api.shapes import ApprovalBody, ApprovalList, ApprovalPage
from core.errors import NotFound, Unavailable
from integrations.waits import Decision
from runs.approvals import MAX_PAGE, ApprovalStore
from runs.model import Approval

if TYPE_CHECKING:
    from collections.abc import Iterator

router = APIRouter(prefix="/v1", tags=["approvals"], dependencies=[Depends(only_known_parameters)])
_MOST_DIGITS = 9


@router.get(
    "/approvals",
    operation_id="list_approvals",
    summary="List what is to be approved",
    responses={200: {"model": ApprovalPage, "description": "A page, the oldest first"}},
)
async def list_approvals(
    request: Request,
    key: Reader,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """List what the tenant's runs wait for somebody to approve."""
    with wrong_cursor(), _redis_or_unavailable():
        found, after = await _store(request).page(key.tenant, cursor=cursor, limit=limit)
    return page_answer(request, [one.model_dump() for one in found], after)


@router.get(
    "/runs/{run_id}/approvals",
    operation_id="list_run_approvals",
    summary="List what a run asked",
    responses={200: {"model": ApprovalList, "description": "In the order of its calls"}},
)
async def list_run_approvals(request: Request, run_id: str, key: Reader) -> Response:
    """List all that one run has asked, answered or not."""
    check_run_id(run_id)
    with _redis_or_unavailable():
        return _list(await _store(request).of_run(key.tenant, run_id))


@router.post(
    "/runs/{run_id}/approvals/{n}",
    operation_id="answer_approval",
    summary="Approve or deny",
    openapi_extra=json_body("ApprovalBody"),
    responses={200: {"model": Approval, "description": "Answered, now or before in the same way"}},
)
async def answer_approval(
    request: Request,
    run_id: str,
    n: Annotated[str, Path(description="Number of the call that waits.")],
    key: Approver,
) -> Response:
    """Answer what a run asks; it goes on. Who and when stands on its tape and in the ledger."""
    check_run_id(run_id)
    if not (n.isascii() and n.isdigit() and len(n) <= _MOST_DIGITS and n == str(int(n))):
        raise NotFound("no run of yours asks this", hint="GET /v1/approvals lists what is open")
    body = await read_model(request, ApprovalBody)
    with _redis_or_unavailable():
        approval = await _store(request).answer(
            key.tenant, run_id, int(n), Decision(body.decision), by=key.id, comment=body.comment
        )
    return Response(orjson.dumps(approval.model_dump()), media_type="application/json")


def _store(request: Request) -> ApprovalStore:
    return ApprovalStore(services_of(request).redis)


def _list(approvals: Sequence[Approval]) -> Response:
    rows = {"data": [one.model_dump() for one in approvals]}
    return Response(orjson.dumps(rows), media_type="application/json")


@contextmanager
def _redis_or_unavailable() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        hint = "giving the same answer again is safe"
        raise Unavailable("Redis does not answer", hint=hint) from error
