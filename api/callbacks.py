"""
The routes of callback endpoints and of what became of their deliveries.

Runs in: api. Trusts: the door. Refuses: addresses that may not be called; to show a secret a
second time; another tenant's endpoints and deliveries. May import: stdlib, fastapi, core, tenancy,
triggers, api.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from api.auth import TriggersReader, TriggersWriter
from api.bodies import read_model
from api.idempotency import idempotent
from api.listing import Cursor, page_answer, wrong_cursor
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import services_of
from api.trigger_shapes import (
    CallbackBody,
    CallbackChangeBody,
    CallbackList,
    CallbackMade,
    DeliveryList,
)
from tenancy.scopes import Scope
from triggers.callback_store import ID_PREFIX, Change
from triggers.callbacks import DeliveryRecord, Endpoint
from triggers.kept import MAX_PAGE

router = APIRouter(
    prefix="/v1/callbacks", tags=["callbacks"], dependencies=[Depends(only_known_parameters)]
)
deliveries = APIRouter(
    prefix="/v1/deliveries", tags=["callbacks"], dependencies=[Depends(only_known_parameters)]
)


@router.get(
    "",
    operation_id="list_callbacks",
    summary="List callback endpoints",
    responses={200: {"model": CallbackList, "description": "A page, newest first"}},
)
async def list_callbacks(
    request: Request,
    key: TriggersReader,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """List the tenant's endpoints, newest first; a secret is never shown."""
    store = services_of(request).triggers.callbacks
    with wrong_cursor():
        found, following = await store.page(key.tenant, cursor=cursor, limit=limit)
    rows = [one.model_dump(exclude_none=True) for one in found]
    return page_answer(request, rows, following)


@router.post(
    "",
    operation_id="create_callback",
    summary="Make a callback endpoint",
    status_code=201,
    openapi_extra=json_body("CallbackBody"),
    responses={201: {"model": CallbackMade, "description": "With its secret, shown this once"}},
)
async def create_callback(request: Request, key: TriggersWriter) -> Response:
    """Keep an address that runs can name to be told of their ends."""
    body = await read_model(request, CallbackBody)
    store = services_of(request).triggers.callbacks
    async with idempotent(request, key) as once:
        known = await once.found(ID_PREFIX, partial(store.get, key.tenant))
        if known is not None:  # its secret was shown, or nobody has it: another can be added
            told = _shown(known, 201, {"Location": f"/v1/callbacks/{known.id}"})
            return once.tell_again(told, reference=known.id)
        endpoint, secret = await store.create(
            key.tenant, body.name, body.url, by=key.id, endpoint_id=once.new_id(ID_PREFIX)
        )
        made = _made(endpoint, secret, {"Location": f"/v1/callbacks/{endpoint.id}"})
        return once.keep(made, reference=endpoint.id)


@router.get(
    "/{callback_id}",
    operation_id="get_callback",
    summary="Show a callback endpoint",
    responses={200: {"model": Endpoint, "description": "Its address, and whether it is on"}},
)
async def get_callback(request: Request, callback_id: str, key: TriggersReader) -> Response:
    """Show one endpoint; a secret is never shown."""
    return _shown(await services_of(request).triggers.callbacks.get(key.tenant, callback_id))


@router.patch(
    "/{callback_id}",
    operation_id="change_callback",
    summary="Change a callback endpoint",
    openapi_extra=json_body("CallbackChangeBody"),
    responses={200: {"model": Endpoint, "description": "The endpoint as it is now"}},
)
async def change_callback(request: Request, callback_id: str, key: TriggersWriter) -> Response:
    """
    Change an endpoint, or switch it on or off; it counts for what waits to be sent, too.

    Another `url` needs `runs:read`: results of runs that named the endpoint before go there.
    """
    body = await read_model(request, CallbackChangeBody)
    if body.url is not None:
        key.require(Scope.READ)
    change = Change(body.name, body.url, body.enabled)
    store = services_of(request).triggers.callbacks
    return _shown(await store.change(key.tenant, callback_id, change, by=key.id))


@router.delete(
    "/{callback_id}",
    operation_id="delete_callback",
    summary="Delete a callback endpoint",
    status_code=204,
    response_class=Response,
)
async def delete_callback(request: Request, callback_id: str, key: TriggersWriter) -> Response:
    """Forget an endpoint; what waits to be sent to it is given up."""
    await services_of(request).triggers.callbacks.delete(key.tenant, callback_id, by=key.id)
    return Response(status_code=204)


@router.post(
    "/{callback_id}/secrets",
    operation_id="add_callback_secret",
    summary="Make a further secret",
    status_code=201,
    responses={201: {"model": CallbackMade, "description": "With the secret, shown this once"}},
)
async def add_callback_secret(request: Request, callback_id: str, key: TriggersWriter) -> Response:
    """Make a secret beside those there are: each signs, so that the receiver can change to it."""
    endpoint, secret = await services_of(request).triggers.callbacks.add_secret(
        key.tenant, callback_id, by=key.id
    )
    return _made(endpoint, secret)


@router.delete(
    "/{callback_id}/secrets/{secret_id}",
    operation_id="remove_callback_secret",
    summary="Forget a secret",
    responses={200: {"model": Endpoint, "description": "The endpoint as it is now"}},
)
async def remove_callback_secret(
    request: Request, callback_id: str, secret_id: str, key: TriggersWriter
) -> Response:
    """Forget a secret; the last one stays."""
    store = services_of(request).triggers.callbacks
    return _shown(await store.remove_secret(key.tenant, callback_id, secret_id, by=key.id))


@router.get(
    "/{callback_id}/deliveries",
    operation_id="list_deliveries",
    summary="List deliveries",
    responses={200: {"model": DeliveryList, "description": "A page, newest first"}},
)
async def list_deliveries(
    request: Request,
    callback_id: str,
    key: TriggersReader,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """List the newest deliveries of an endpoint, each with its attempts."""
    triggers = services_of(request).triggers
    await triggers.callbacks.get(key.tenant, callback_id)
    with wrong_cursor():
        found, following = await triggers.deliveries.page(
            key.tenant, callback_id, cursor=cursor, limit=limit
        )
    rows = [one.model_dump(exclude_none=True) for one in found]
    return page_answer(request, rows, following)


@deliveries.get(
    "/{delivery_id}",
    operation_id="get_delivery",
    summary="Show a delivery",
    responses={200: {"model": DeliveryRecord, "description": "Its state and its attempts"}},
)
async def get_delivery(request: Request, delivery_id: str, key: TriggersReader) -> Response:
    """Show one delivery; its id is the `webhook-id` that its receiver sees."""
    return _shown(await services_of(request).triggers.deliveries.get(key.tenant, delivery_id))


@deliveries.post(
    "/{delivery_id}/replay",
    operation_id="replay_delivery",
    summary="Send a delivery again",
    status_code=202,
    responses={202: {"model": DeliveryRecord, "description": "It is due, under the same id"}},
)
async def replay_delivery(request: Request, delivery_id: str, key: TriggersWriter) -> Response:
    """Send it at once, whatever became of it, with all attempts before it."""
    log = services_of(request).triggers.deliveries
    return _shown(await log.replay(key.tenant, delivery_id), 202)


def _made(endpoint: Endpoint, secret: str, headers: dict[str, str] | None = None) -> Response:
    made = CallbackMade(**endpoint.model_dump(), secret=secret)
    return _shown(made, 201, headers)


def _shown(
    value: Endpoint | DeliveryRecord, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    shown: Any = value.model_dump(exclude_none=True)
    body = orjson.dumps(shown)
    return Response(body, status_code=status, headers=headers, media_type="application/json")
