"""The routes of schedules: saved scripts started by cron, every so often, or once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel

from api.auth import TriggersReader, TriggersWriter
from api.bodies import read_model
from api.idempotency import idempotent
from api.listing import Cursor, page_answer, wrong_cursor
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import services_of
from integrations.grant_names import check_taking
from sandbox.limits import KIB
from tenancy.grants import GrantSet
from tenancy.keys import KeyRecord
from tenancy.scopes import Scope
from triggers.schedule_store import MAX_PAGE, ScheduleStore
from triggers.schedules import ID_PREFIX, Fire, Schedule, ScheduleChange, ScheduleDraft

_MAX_BODY_BYTES = 512 * KIB
_MAX_FIRES = 200
Id = Annotated[str, Path(description="Id of a schedule, `sch_...`.", max_length=60)]

router = APIRouter(
    prefix="/v1/schedules", tags=["schedules"], dependencies=[Depends(only_known_parameters)]
)


class SchedulePage(BaseModel):
    """Some schedules, newest first."""

    data: list[Schedule]
    next_cursor: str | None
    has_more: bool


class FireList(BaseModel):
    """What came of the last fires of a schedule, newest first; at most 200 are kept."""

    data: list[Fire]


@router.post(
    "",
    operation_id="create_schedule",
    summary="Make a schedule",
    status_code=201,
    openapi_extra=json_body("ScheduleDraft"),
    responses={201: {"model": Schedule, "description": "Made; `Location` is its address"}},
)
async def create_schedule(request: Request, key: TriggersWriter) -> Response:
    """Start a saved script again and again; its runs have what this key may call at the time."""
    key.require(Scope.WRITE)
    draft = await read_model(request, ScheduleDraft, max_bytes=_MAX_BODY_BYTES)
    await _check_grants(request, draft.grants)
    draft = draft.model_copy(update=await _told(request, key, draft.callback))
    store = _store(request)
    async with idempotent(request, key) as once:
        if once.replayed is not None:
            return once.replayed
        known = await once.found(ID_PREFIX, partial(store.get, key.tenant))
        if known is not None:
            told = _answer(known, 201, {"Location": f"/v1/schedules/{known.id}"})
            return once.tell_again(told)
        made = await store.create(key, draft, schedule_id=once.new_id(ID_PREFIX))
        return once.keep(_answer(made, 201, {"Location": f"/v1/schedules/{made.id}"}))


@router.get(
    "",
    operation_id="list_schedules",
    summary="List schedules",
    responses={200: {"model": SchedulePage, "description": "A page, newest first"}},
)
async def list_schedules(
    request: Request,
    key: TriggersReader,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """List the tenant's schedules, newest first."""
    with wrong_cursor():
        found, more = await _store(request).page(key.tenant, cursor=cursor, limit=limit)
    return page_answer(request, [one.model_dump() for one in found], more)


@router.get(
    "/{schedule_id}",
    operation_id="get_schedule",
    summary="Show a schedule",
    responses={200: {"model": Schedule, "description": "The schedule as it is now"}},
)
async def get_schedule(request: Request, schedule_id: Id, key: TriggersReader) -> Response:
    """Show what a schedule starts, when it fires next, and how its fires ended."""
    return _answer(await _store(request).get(key.tenant, schedule_id))


@router.get(
    "/{schedule_id}/fires",
    operation_id="list_fires",
    summary="Show what came of fires",
    responses={200: {"model": FireList, "description": "The last fires, newest first"}},
)
async def list_fires(
    request: Request,
    schedule_id: Id,
    key: TriggersReader,
    limit: Annotated[int, Query(ge=1, le=_MAX_FIRES)] = 50,
) -> Response:
    """Show what came of the last fires: each was started, skipped, missed or failed."""
    fires = await _store(request).history(key.tenant, schedule_id, limit=limit)
    body = {"data": [one.model_dump(exclude_none=True) for one in fires]}
    return Response(orjson.dumps(body), media_type="application/json")


@router.patch(
    "/{schedule_id}",
    operation_id="change_schedule",
    summary="Change, pause or resume a schedule",
    openapi_extra=json_body("ScheduleChange"),
    responses={200: {"model": Schedule, "description": "The schedule as it is now"}},
)
async def change_schedule(request: Request, schedule_id: Id, key: TriggersWriter) -> Response:
    """Change what is named; from now on its runs have what this key may call."""
    key.require(Scope.WRITE)
    change = await read_model(request, ScheduleChange, max_bytes=_MAX_BODY_BYTES)
    await _check_grants(request, change.grants)
    change = change.model_copy(update=await _told(request, key, change.callback))
    return _answer(await _store(request).change(key, schedule_id, change))


@router.delete(
    "/{schedule_id}",
    operation_id="delete_schedule",
    summary="Delete a schedule",
    status_code=204,
    response_class=Response,
)
async def delete_schedule(request: Request, schedule_id: Id, key: TriggersWriter) -> Response:
    """Fire no more; runs that it started go on."""
    await _store(request).delete(key, schedule_id)
    return Response(status_code=204)


async def _check_grants(request: Request, grants: list[Any] | None) -> None:
    if grants:
        catalog = services_of(request).catalog
        await asyncio.to_thread(lambda: check_taking(GrantSet.parse(grants), catalog))


async def _told(request: Request, key: KeyRecord, callback: str | None) -> dict[str, str]:
    """Give what is kept in place of the callback that was named, if one was."""
    if callback is None:
        return {}
    target = services_of(request).triggers.callbacks.target
    return {"callback": await target(key.tenant, callback)}


def _store(request: Request) -> ScheduleStore:
    return ScheduleStore(services_of(request).redis)


def _answer(shown: Schedule, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(shown.model_dump()),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )
