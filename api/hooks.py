"""
The routes of inbound webhooks: the door for events, and who may set hooks up.

Runs in: api. Trusts: of an event nothing before its signature was checked. Refuses: events that are
not signed by their hook's sender, compressed ones, and those with more than 1 MiB. May import:
stdlib, fastapi, core, tenancy, runs, triggers, api.

An event needs no API key: its signature is the key. Who sets a hook up needs `runs:write` too: its
events start runs with that key.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Depends, Query, Request, Response

from api.auth import TriggersReader, TriggersWriter
from api.bodies import read_model
from api.idempotency import idempotent
from api.listing import Cursor, page_answer, wrong_cursor
from api.problems import UnsupportedMediaType
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import services_of
from api.strict_json import read_raw
from api.trigger_shapes import (
    EventTaken,
    HookBody,
    HookChangeBody,
    HookList,
    HookMade,
    SecretBody,
)
from tenancy.keys import KeyRecord
from tenancy.scopes import Scope
from triggers.hook_store import ID_PREFIX
from triggers.hooks import Hook, HookTerms
from triggers.kept import MAX_PAGE
from triggers.receiving import MAX_EVENT_BYTES
from triggers.refs import Ref
from triggers.scripts import SavedScripts
from triggers.starting import Owner
from triggers.verification.delivery import Delivery

#: Events come to this one: its callers have no key.
events = APIRouter(prefix="/v1/hooks", tags=["hooks"])
router = APIRouter(
    prefix="/v1/hooks", tags=["hooks"], dependencies=[Depends(only_known_parameters)]
)


@events.post(
    "/{hook_id}",
    operation_id="receive_event",
    summary="Take an event",
    status_code=202,
    responses={
        200: {"model": EventTaken, "description": "It was taken before"},
        202: {"model": EventTaken, "description": "It started a run"},
    },
)
async def receive_event(request: Request, hook_id: str) -> Response:
    """Take an event of a hook's sender, signed as the hook says, and start its script."""
    receiving = services_of(request).triggers.receiving
    opened = await receiving.open(hook_id)
    request.state.tenant = opened.tenant
    structlog.contextvars.bind_contextvars(tenant=opened.tenant)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType(
            "the body must not be compressed", hint="send it without Content-Encoding"
        )
    body = await read_raw(request, MAX_EVENT_BYTES)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in _raw(request)]
    received = await receiving.receive(opened, Delivery(headers, body))
    if received.challenge is not None:
        return _answer({"challenge": received.challenge})
    taken = EventTaken(repeated=received.repeated, run=received.run)
    return _answer(taken.model_dump(), 200 if received.repeated else 202)


@router.get(
    "",
    operation_id="list_hooks",
    summary="List hooks",
    responses={200: {"model": HookList, "description": "A page, newest first"}},
)
async def list_hooks(
    request: Request,
    key: TriggersReader,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """List the tenant's hooks, newest first; a secret is never shown."""
    hooks = services_of(request).triggers.hooks
    with wrong_cursor():
        found, following = await hooks.page(key.tenant, cursor=cursor, limit=limit)
    rows = [one.model_dump(exclude_none=True) for one in found]
    return page_answer(request, rows, following)


@router.post(
    "",
    operation_id="create_hook",
    summary="Make a hook",
    status_code=201,
    openapi_extra=json_body("HookBody"),
    responses={201: {"model": HookMade, "description": "`path` is where its sender sends to"}},
)
async def create_hook(request: Request, key: TriggersWriter) -> Response:
    """Let a sender start a saved script; its runs start with the key that makes the hook."""
    key.require(Scope.WRITE)
    body = await read_model(request, HookBody)
    checked = await _checked(request, key, body.model_dump(exclude={"secret"}))
    store = services_of(request).triggers.hooks
    async with idempotent(request, key) as once:
        known = await once.found(ID_PREFIX, partial(store.get, key.tenant))
        if known is not None:  # its secret was shown, or nobody has it: another can be added
            shown = _answer(known.model_dump(exclude_none=True), 201, {"Location": known.path})
            return once.tell_again(shown, reference=known.id)
        hook, secret = await store.create(
            key.tenant,
            HookTerms(**checked).checked(),
            body.secret,
            owner=Owner(key.id, key.owner),
            hook_id=once.new_id(ID_PREFIX),
        )
        made = HookMade(**hook.model_dump(), secret=secret)
        shown = _answer(made.model_dump(exclude_none=True), 201, {"Location": hook.path})
        return once.keep(shown, reference=hook.id)


@router.get(
    "/{hook_id}",
    operation_id="get_hook",
    summary="Show a hook",
    responses={200: {"model": Hook, "description": "What it does, and what became of its events"}},
)
async def get_hook(request: Request, hook_id: str, key: TriggersReader) -> Response:
    """Show one hook; a secret is never shown."""
    return _shown(await services_of(request).triggers.hooks.get(key.tenant, hook_id))


@router.patch(
    "/{hook_id}",
    operation_id="change_hook",
    summary="Change a hook",
    openapi_extra=json_body("HookChangeBody"),
    responses={200: {"model": Hook, "description": "The hook as it is now"}},
)
async def change_hook(request: Request, hook_id: str, key: TriggersWriter) -> Response:
    """Change what a hook does, from the next event on; its runs start with this key then."""
    key.require(Scope.WRITE)
    body = await read_model(request, HookChangeBody)
    changes = await _checked(
        request, key, {name: getattr(body, name) for name in body.model_fields_set}
    )
    hooks = services_of(request).triggers.hooks
    owner = Owner(key.id, key.owner)
    return _shown(await hooks.change(key.tenant, hook_id, changes, owner=owner))


@router.delete(
    "/{hook_id}",
    operation_id="delete_hook",
    summary="Delete a hook",
    status_code=204,
    response_class=Response,
)
async def delete_hook(request: Request, hook_id: str, key: TriggersWriter) -> Response:
    """Forget a hook; runs that it started go on."""
    await services_of(request).triggers.hooks.delete(key.tenant, hook_id, by=key.id)
    return Response(status_code=204)


@router.post(
    "/{hook_id}/secrets",
    operation_id="add_hook_secret",
    summary="Keep a further secret",
    status_code=201,
    openapi_extra=json_body("SecretBody"),
    responses={201: {"model": HookMade, "description": "What is signed with any of them counts"}},
)
async def add_hook_secret(request: Request, hook_id: str, key: TriggersWriter) -> Response:
    """Keep a secret beside those there are, so that the sender can change to it."""
    key.require(Scope.WRITE)
    body = await read_model(request, SecretBody)
    hook, secret = await services_of(request).triggers.hooks.add_secret(
        key.tenant, hook_id, body.secret, owner=Owner(key.id, key.owner)
    )
    made = HookMade(**hook.model_dump(), secret=secret)
    return _answer(made.model_dump(exclude_none=True), 201)


@router.delete(
    "/{hook_id}/secrets/{secret_id}",
    operation_id="remove_hook_secret",
    summary="Forget a secret",
    responses={200: {"model": Hook, "description": "The hook as it is now"}},
)
async def remove_hook_secret(
    request: Request, hook_id: str, secret_id: str, key: TriggersWriter
) -> Response:
    """Forget a secret: what is signed with it no longer counts."""
    hooks = services_of(request).triggers.hooks
    return _shown(await hooks.remove_secret(key.tenant, hook_id, secret_id, by=key.id))


async def _checked(request: Request, key: KeyRecord, terms: dict[str, Any]) -> dict[str, Any]:
    services = services_of(request)
    if "script_ref" in terms:
        ref = Ref.parse(terms["script_ref"])
        await SavedScripts(services.redis).resolve(key.tenant, ref)
    if terms.get("callback") is not None:
        target = await services.triggers.callbacks.target(key.tenant, terms["callback"])
        terms["callback"] = target
    return terms


def _raw(request: Request) -> list[tuple[bytes, bytes]]:
    return request.headers.raw


def _shown(hook: Hook) -> Response:
    return _answer(hook.model_dump(exclude_none=True))


def _answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = orjson.dumps(value)
    return Response(body, status_code=status, headers=headers, media_type="application/json")
