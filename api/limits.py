"""
The routes of limits: how much a tenant, and each of its keys, may use.

A tenant's limits are the operator's to change, with a key that has `tenants:admin` and names the
tenant, and that key sees them. Those of a key are changed by one with `keys:admin` that has none of
its own. Any key that may see runs sees what it is held to.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Request, Response

from api.administration_shapes import LimitsBody, LimitsShown, OwnLimits
from api.auth import KeysAdmin, LimitsReader, TenantsAdmin
from api.bodies import read_model
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import services_of
from core.errors import Forbidden, Invalid, NotFound
from core.ids import is_id
from tenancy.keys import KeyRecord
from tenancy.terms import TermsStore

router = APIRouter(
    prefix="/v1/limits", tags=["limits"], dependencies=[Depends(only_known_parameters)]
)
KeyId = Annotated[str, Path(description="Id of a key of the tenant, `key_...`.")]


@router.get(
    "",
    operation_id="get_limits",
    summary="Show what this key is held to",
    responses={200: {"model": OwnLimits, "description": "Both sets hold"}},
)
async def get_limits(request: Request, key: LimitsReader) -> Response:
    """Show the limits of the tenant, and those of the key that asks."""
    store = _store(request)
    of_key = await store.get(key.tenant, key.id)
    return _answer({"tenant": await store.get(key.tenant), "key": of_key})


@router.patch(
    "",
    operation_id="change_tenant_limits",
    summary="Change a tenant's limits",
    openapi_extra=json_body("LimitsBody"),
    responses={200: {"model": LimitsShown, "description": "They hold from now on"}},
)
async def change_tenant_limits(request: Request, key: TenantsAdmin) -> Response:
    """Set and take off limits of the tenant that `Moonsand-Tenant` names."""
    if key.home is None:
        raise Forbidden(
            "an operator's key has no limits of its own",
            hint="name the tenant that it acts for: Moonsand-Tenant: acme",
        )
    return await _change(request, key, None)


@router.get(
    "/keys/{key_id}",
    operation_id="get_key_limits",
    summary="Show a key's limits",
    responses={200: {"model": LimitsShown, "description": "Those of the key alone"}},
)
async def get_key_limits(request: Request, key_id: KeyId, key: KeysAdmin) -> Response:
    """Show the limits of one key; those of its tenant hold as well."""
    try:
        await services_of(request).keys.get(key.tenant, _id(key_id))
    except NotFound:
        raise _no_such_key() from None
    return _answer({"limits": await _store(request).get(key.tenant, key_id)})


@router.patch(
    "/keys/{key_id}",
    operation_id="change_key_limits",
    summary="Change a key's limits",
    openapi_extra=json_body("LimitsBody"),
    responses={200: {"model": LimitsShown, "description": "They hold from now on"}},
)
async def change_key_limits(request: Request, key_id: KeyId, key: KeysAdmin) -> Response:
    """Set and take off limits of one key; they widen nothing that the tenant's limits forbid."""
    try:
        return await _change(request, key, _id(key_id))
    except NotFound:
        raise _no_such_key() from None


async def _change(request: Request, key: KeyRecord, key_id: str | None) -> Response:
    body = await read_model(request, LimitsBody)
    try:
        kept = await _store(request).set(key.tenant, key_id, body.limits, by=key.id, giver=key)
    except Invalid as wrong:
        pointer = f"/limits{wrong.pointer or ''}"
        raise Invalid(wrong.detail, pointer=pointer, hint=wrong.hint) from None
    return _answer({"limits": kept})


def _id(key_id: str) -> str:
    if not is_id(key_id, "key"):
        raise _no_such_key()
    return key_id


def _no_such_key() -> NotFound:
    return NotFound("there is no key with this id", hint="GET /v1/keys lists yours")


def _store(request: Request) -> TermsStore:
    return TermsStore(services_of(request).redis)


def _answer(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
