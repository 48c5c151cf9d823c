"""The routes of runs: submit, show, list, cancel."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from api.auth import Reader, Writer, caller
from api.idempotency import Once, idempotent
from api.listing import Cursor, page_answer, wrong_cursor
from api.parameters import refuse_unknown_parameters
from api.problems import FieldError, InvalidFields
from api.rate_limits import rate_headers
from api.schema import submission_body
from api.services import Services, services_of
from api.shapes import LONG_FIELDS, RunPage
from api.strict_json import read_body
from api.submission import MAX_WAIT_S, Taken, read_submission
from api.waiting import wait_for_end
from core.errors import NotFound
from core.ids import is_id
from integrations.grant_names import check_taking
from runs.acceptance import Accepted
from runs.model import RunRecord, RunRequest, State, WaitsFor
from runs.plans import ApplyRequest, Plans
from tenancy.grants import GrantSet
from tenancy.keys import KeyRecord
from tenancy.scopes import Scope
from triggers.scripts import SavedScripts
from triggers.starting import look_up

MAX_PAGE = 200
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=[,;]|$)", re.IGNORECASE)


async def only_known_parameters(
    request: Request, _key: Annotated[KeyRecord, Depends(caller)]
) -> None:
    """
    Refuse query parameters that the route does not have, or twice: a filter must not be lost.

    Raises:
        InvalidFields: with each wrong name and the nearest known one.
    """
    refuse_unknown_parameters(request)


router = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=[Depends(only_known_parameters)])


@router.post(
    "",
    operation_id="submit_run",
    summary="Run a script",
    status_code=202,
    openapi_extra=submission_body(),
    responses={
        200: {"model": RunRecord, "description": "It ended while we waited"},
        202: {"model": RunRecord, "description": "Accepted; `Location` is its address"},
    },
)
async def submit_run(request: Request, key: Writer) -> Response:
    """Accept a run, and wait for its end when `wait_s` or `Prefer: wait=N` says so."""
    services = services_of(request)
    body = await read_body(request)
    taken = await read_submission(body)
    async with idempotent(request, key) as once:
        if once.replayed is not None:
            return once.replayed
        if once.reference:
            record = await find_run(services, key.tenant, once.reference)
            return once.replay(_answer(record, once.status, _address(record)))
        accepted = await _accept(services, key, taken, once)
        once.made(before=accepted.known)
        record, headers = accepted.record, rate_headers(accepted.rates)
        preferred = _preferred_wait_s(request)
        wait_s = preferred if taken.wait_s is None else taken.wait_s
        if wait_s:
            record = await wait_for_end(services, record, wait_s)
        headers |= _address(record)
        if preferred is not None and wait_s == preferred:
            headers["Preference-Applied"] = f"wait={preferred}"
        if record.status.terminal:
            return once.keep(_answer(record, 200, headers), reference=record.id)
        headers["Retry-After"] = "1"
        return once.keep(_answer(record, 202, headers), run_id=record.id)


def _address(record: RunRecord) -> dict[str, str]:
    return {"Location": f"/v1/runs/{record.id}"}


async def _accept(services: Services, key: KeyRecord, taken: Taken, once: Once) -> Accepted:
    asked = taken.checked
    if isinstance(asked, RunRequest):
        asked = await look_up(SavedScripts(services.redis), key.tenant, asked)
    if isinstance(asked, ApplyRequest):
        return await _apply(services, key, asked, once)
    if asked.callback is not None:
        told = await services.triggers.callbacks.target(key.tenant, asked.callback)
        asked = replace(asked, callback=told)
    if asked.force:
        key.require(Scope.FORCE)
    if asked.grants:
        check_taking(GrantSet.parse(asked.grants), services.catalog)
    if taken.check:
        await services.checks.check(key.tenant, asked.script)
    run_id = once.new_id("run")
    return await services.store.accept(key.tenant, asked, key_id=key.id, run_id=run_id)


async def _apply(services: Services, key: KeyRecord, asked: ApplyRequest, once: Once) -> Accepted:
    # The plan keeps the key of who applied it: the same key gives the same run as long as it lives.
    if once.key is not None:
        if asked.key not in {"", once.key}:
            detail = "it must be that of the header Idempotency-Key, or absent"
            raise InvalidFields([FieldError(pointer="/idempotency_key", detail=detail)])
        asked = replace(asked, key=once.key)
    plans = Plans(services.redis, services.store)
    run_id = once.new_id("run")
    try:
        if await plans.needs_force(key.tenant, asked.run):
            key.require(Scope.FORCE)
        record = await plans.apply(key.tenant, asked, key_id=key.id, run_id=run_id)
    except NotFound:
        raise no_such_run() from None
    return Accepted(record)


@router.get(
    "/{run_id}",
    operation_id="get_run",
    summary="Show a run",
    responses={200: {"model": RunRecord, "description": "The run as it is now"}},
)
async def get_run(request: Request, run_id: str, key: Reader) -> Response:
    """Show the whole record of one run, its result included when it has ended."""
    return _answer(await find_run(services_of(request), key.tenant, run_id), 200)


@router.get(
    "",
    operation_id="list_runs",
    summary="List runs",
    responses={200: {"model": RunPage, "description": "A page, newest first"}},
)
async def list_runs(
    request: Request,
    key: Reader,
    state: Annotated[State | None, Query(description="Only runs in this state.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """List the tenant's runs, newest first, without results, output and calls."""
    with wrong_cursor():
        records, following = await services_of(request).store.page(
            key.tenant, state=state, cursor=cursor, limit=limit
        )
    rows = [_plain(record, leave_out=LONG_FIELDS) for record in records]
    return page_answer(request, rows, following)


@router.post(
    "/{run_id}/cancel",
    operation_id="cancel_run",
    summary="Stop a run",
    responses={
        200: {"model": RunRecord, "description": "It has ended, now or before"},
        202: {"model": RunRecord, "description": "Its worker was asked to stop it"},
    },
)
async def cancel_run(request: Request, run_id: str, key: Writer) -> Response:
    """Stop a run. Asked again, or of a run that has ended, it changes nothing."""
    check_run_id(run_id)
    try:
        record = await services_of(request).store.cancel(key.tenant, run_id)
    except NotFound:
        raise no_such_run() from None
    return _answer(record, 200 if record.status.terminal else 202)


async def find_run(services: Services, tenant: str, run_id: str) -> RunRecord:
    """
    Give a run of this tenant.

    Raises:
        NotFound: the same words whether it never was, is gone, or is another tenant's.
    """
    check_run_id(run_id)
    try:
        return await services.store.get(tenant, run_id, raw_result=True)
    except NotFound:
        raise no_such_run() from None


def check_run_id(run_id: str) -> None:
    """Refuse what cannot be the id of a run, before it becomes part of a Redis key."""
    if not is_id(run_id, "run"):
        raise no_such_run()


def no_such_run() -> NotFound:
    """Make the one answer to every id that this tenant may not see."""
    return NotFound("there is no run with this id", hint="GET /v1/runs lists your runs")


def _preferred_wait_s(request: Request) -> int | None:
    # RFC 7240: a preference that cannot be understood is ignored, and less may be honoured.
    found = _PREFER_WAIT.search(", ".join(request.headers.getlist("prefer")))
    return None if found is None else min(int(found[1]), MAX_WAIT_S)


def _answer(record: RunRecord, status: int, headers: dict[str, str] | None = None) -> Response:
    body = orjson.dumps(_plain(record))
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _plain(record: RunRecord, *, leave_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    # Field by field: `model_dump` would walk and copy the whole result.
    return {
        name: [one.to_json() for one in value] if name == "calls" else _plain_value(value)
        for name, value in record
        if name not in leave_out
    }


def _plain_value(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, list) and value and isinstance(value[0], WaitsFor):
        return [one.model_dump() for one in value]
    return value
