"""
The routes of API keys: make, show, list, change, rotate, revoke.

A key with the scope `keys:admin` administers those of its tenant, an operator's those of the tenant
that it names. Nobody gives more than they have: `tenancy.key_changes` holds them to it.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.administration_shapes import (
    KeyBody,
    KeyChangeBody,
    KeyGiven,
    KeyPage,
    KeyShown,
    RotationBody,
)
from api.auth import KeysAdmin, caller
from api.bodies import read_model
from api.idempotency import idempotent
from api.listing import Cursor, no_cursor, page_answer
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import services_of
from core.errors import NotFound
from core.ids import is_id
from tenancy.key_changes import KeyChange
from tenancy.keys import KeyRecord, KeyStore
from tenancy.scopes import DEFAULT_SCOPES, Role, Scope

MAX_PAGE = 200
router = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[Depends(only_known_parameters)])
KeyId = Annotated[str, Path(description="Id of a key of the tenant, `key_...`.")]


@router.get(
    "",
    operation_id="list_keys",
    summary="List keys",
    responses={200: {"model": KeyPage, "description": "A page, oldest first"}},
)
async def list_keys(
    request: Request,
    key: KeysAdmin,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """List the tenant's keys, those that have expired too, never their texts."""
    if cursor is not None and not is_id(cursor, "key"):
        raise no_cursor("it is no cursor that a page gave")
    every = await _store(request).all(key.tenant)
    start = 0 if cursor is None else bisect_right(every, cursor, key=lambda one: one.id)
    part = every[start : start + limit]
    more = start + limit < len(every)
    rows = await _rows(request, key.tenant, part)
    return page_answer(request, rows, part[-1].id if more else None)


@router.post(
    "",
    operation_id="create_key",
    summary="Make a key",
    status_code=201,
    openapi_extra=json_body("KeyBody"),
    responses={201: {"model": KeyGiven, "description": "With its text, which is shown this once"}},
)
async def create_key(request: Request, key: KeysAdmin) -> Response:
    """Make a key with no more scopes, and no longer life, than the key that asks."""
    body = await read_model(request, KeyBody)
    scopes = _scopes(body.role, body.scopes) or DEFAULT_SCOPES
    store = _store(request)
    async with idempotent(request, key) as once:
        known = await once.found("key", partial(store.get, key.tenant))
        if known is not None:  # its text was shown, or nobody has it: it can be rotated
            (row,) = await _rows(request, key.tenant, [known])
            told = _answer(row, 201, {"Location": f"/v1/keys/{known.id}"})
            return once.tell_again(told, reference=known.id)
        plain, record = await store.create(
            key.tenant,
            body.name,
            scopes=scopes,
            expires_ms=body.expires_ms,
            giver=key,
            key_id=once.new_id("key"),
        )
        (row,) = await _rows(request, key.tenant, [record])
        made = _answer({**row, "key": plain}, 201, {"Location": f"/v1/keys/{record.id}"})
        return once.keep(made, reference=record.id)


@router.get(
    "/current",
    operation_id="get_current_key",
    summary="Show the key that asks",
    responses={200: {"model": KeyShown, "description": "What this key is and may do"}},
)
async def get_current_key(request: Request, key: Annotated[KeyRecord, Depends(caller)]) -> Response:
    """Show the key that is sent with the request; it needs no scope."""
    (row,) = await _rows(request, key.owner, [key.acting_for(key.owner)])
    return _answer(row)


@router.get(
    "/{key_id}",
    operation_id="get_key",
    summary="Show a key",
    responses={200: {"model": KeyShown, "description": "The key, never its text"}},
)
async def get_key(request: Request, key_id: KeyId, key: KeysAdmin) -> Response:
    """Show one key of the tenant."""
    try:
        record = await _store(request).get(key.tenant, _id(key_id))
    except NotFound:
        raise _no_such_key() from None
    (row,) = await _rows(request, key.tenant, [record])
    return _answer(row)


@router.patch(
    "/{key_id}",
    operation_id="change_key",
    summary="Change a key",
    openapi_extra=json_body("KeyChangeBody"),
    responses={200: {"model": KeyShown, "description": "It holds from the next request on"}},
)
async def change_key(request: Request, key_id: KeyId, key: KeysAdmin) -> Response:
    """Give a key another name, other scopes or another expiry; its text stays."""
    body = await read_model(request, KeyChangeBody)
    change = KeyChange(body.name, _scopes(body.role, body.scopes), body.expires_ms)
    try:
        record = await _store(request).change(key.tenant, _id(key_id), change, giver=key)
    except NotFound:
        raise _no_such_key() from None
    (row,) = await _rows(request, key.tenant, [record])
    return _answer(row)


@router.post(
    "/{key_id}/rotate",
    operation_id="rotate_key",
    summary="Give a key a new text",
    openapi_extra=json_body("RotationBody"),
    responses={200: {"model": KeyGiven, "description": "With its text, which is shown this once"}},
)
async def rotate_key(request: Request, key_id: KeyId, key: KeysAdmin) -> Response:
    """Give a key a new text; the old one opens for `grace_s` seconds and administers nothing."""
    body = await read_model(request, RotationBody)
    try:
        plain, record = await _store(request).rotate(
            key.tenant, _id(key_id), grace_s=body.grace_s, giver=key
        )
    except NotFound:
        raise _no_such_key() from None
    (row,) = await _rows(request, key.tenant, [record])
    return _answer({**row, "key": plain})


@router.delete(
    "/{key_id}",
    operation_id="revoke_key",
    summary="Revoke a key",
    status_code=204,
    response_class=Response,
)
async def revoke_key(request: Request, key_id: KeyId, key: KeysAdmin) -> Response:
    """End a key at once, with its grants and limits; its runs go on."""
    try:
        await _store(request).revoke(key.tenant, _id(key_id), giver=key)
    except NotFound:
        raise _no_such_key() from None
    return Response(status_code=204)


def _store(request: Request) -> KeyStore:
    return services_of(request).keys


def _scopes(role: Role | None, scopes: list[Scope] | None) -> tuple[Scope, ...] | None:
    together = (*(role.scopes if role else ()), *(scopes or ()))
    return together or None


def _id(key_id: str) -> str:
    if not is_id(key_id, "key"):
        raise _no_such_key()
    return key_id


def _no_such_key() -> NotFound:
    return NotFound("there is no key with this id", hint="GET /v1/keys lists yours")


async def _rows(request: Request, tenant: str, records: list[KeyRecord]) -> list[dict[str, Any]]:
    used = await _store(request).last_uses(tenant, [record.id for record in records])
    return [
        {
            "id": record.id,
            "tenant": record.tenant,
            "name": record.name,
            "scopes": list(record.scopes),
            "last4": record.last4,
            "by": record.by,
            "created_ms": record.created_ms,
            "expires_ms": record.expires_ms,
            "last_used_ms": used.get(record.id),
            "previous_ends_ms": record.previous_ends_ms,
        }
        for record in records
    ]


def _answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = orjson.dumps(value)
    return Response(body, status_code=status, headers=headers, media_type="application/json")
