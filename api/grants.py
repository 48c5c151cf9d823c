"""
The routes of grants: what a tenant and each of its keys may call.

A key needs the scope `grants:admin` for all of them but one: any key that may see runs is told what
a run of its own could call.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import ValidationError

from api.auth import GrantsAdmin, Reader
from api.grant_shapes import AllGrants, EffectiveGrants, GrantsBody, KeptGrants
from api.problems import FieldError, InvalidFields
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import services_of
from api.strict_json import parse, pointer_to, read_body
from core.errors import Invalid, NotFound
from integrations.catalog import Catalog
from integrations.grant_names import check_names
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet
from tenancy.keys import KeyRecord

router = APIRouter(
    prefix="/v1/grants", tags=["grants"], dependencies=[Depends(only_known_parameters)]
)
KeyId = Annotated[str, Path(description="Id of a key of the tenant, `key_...`.")]


@router.get(
    "",
    operation_id="list_grants",
    summary="Show all grants",
    responses={200: {"model": AllGrants, "description": "Of the tenant and of its keys"}},
)
async def list_grants(request: Request, key: GrantsAdmin) -> Response:
    """Show the rules of the tenant, null when it has none, and those of each key that has some."""
    own, of_keys = await _store(request).all(key.tenant)
    rows = {key_id: rules.to_json() for key_id, rules in of_keys.items()}
    return _answer({"tenant": None if own is None else own.to_json(), "keys": rows})


@router.get(
    "/effective",
    operation_id="effective_grants",
    summary="Show what this key's runs may call",
    responses={200: {"model": EffectiveGrants, "description": "Both sets must allow a call"}},
)
async def effective_grants(request: Request, key: Reader) -> Response:
    """Show the rules that a run of this key would be held to if it were accepted now."""
    ceiling = await _store(request).ceiling(key.tenant, key.id)
    sets = {whose.value: rules.to_json() for whose, rules in ceiling.items()}
    return _answer({"tenant": sets.get("tenant"), "key": sets.get("key")})


@router.put(
    "",
    operation_id="set_tenant_grants",
    summary="Set the tenant's grants",
    openapi_extra=json_body("GrantsBody"),
    responses={200: {"model": KeptGrants, "description": "They hold for runs accepted from now"}},
)
async def set_tenant_grants(request: Request, key: GrantsAdmin) -> Response:
    """Replace the tenant's rules: no run of any of its keys can call more."""
    return await _set(request, key, None)


@router.delete(
    "",
    operation_id="remove_tenant_grants",
    summary="Remove the tenant's grants",
    status_code=204,
    response_class=Response,
)
async def remove_tenant_grants(request: Request, key: GrantsAdmin) -> Response:
    """Forget the tenant's rules: they no longer limit anything."""
    await _store(request).remove(key.tenant, None, by=key.id)
    return Response(status_code=204)


@router.get(
    "/keys/{key_id}",
    operation_id="get_key_grants",
    summary="Show a key's grants",
    responses={200: {"model": KeptGrants, "description": "The rules of the key"}},
)
async def get_key_grants(request: Request, key_id: KeyId, key: GrantsAdmin) -> Response:
    """Show the rules of one key, null when it has none of its own."""
    await _check_key(request, key, key_id)
    _, of_keys = await _store(request).all(key.tenant)
    rules = of_keys.get(key_id)
    return _answer({"grants": None if rules is None else rules.to_json()})


@router.put(
    "/keys/{key_id}",
    operation_id="set_key_grants",
    summary="Set a key's grants",
    openapi_extra=json_body("GrantsBody"),
    responses={200: {"model": KeptGrants, "description": "They hold for runs accepted from now"}},
)
async def set_key_grants(request: Request, key_id: KeyId, key: GrantsAdmin) -> Response:
    """Replace the rules of one key: its runs can call no more, and no more than the tenant's."""
    await _check_key(request, key, key_id)
    return await _set(request, key, key_id)


@router.delete(
    "/keys/{key_id}",
    operation_id="remove_key_grants",
    summary="Remove a key's grants",
    status_code=204,
    response_class=Response,
)
async def remove_key_grants(request: Request, key_id: KeyId, key: GrantsAdmin) -> Response:
    """Forget the rules of one key: it may call what the tenant may."""
    await _check_key(request, key, key_id)
    await _store(request).remove(key.tenant, key_id, by=key.id)
    return Response(status_code=204)


async def _set(request: Request, key: KeyRecord, key_id: str | None) -> Response:
    body = await read_body(request)
    catalog = services_of(request).catalog
    # A full set takes some milliseconds to check: requests must not wait for it.
    rules = await asyncio.to_thread(_take, body, catalog)
    await _store(request).set(key.tenant, key_id, rules, by=key.id)
    return _answer({"grants": rules.to_json()})


def _take(body: bytes, catalog: Catalog) -> GrantSet:
    value = parse(body)
    if not isinstance(value, dict):
        raise Invalid("the body must be a JSON object", pointer="")
    try:
        given = GrantsBody.model_validate(value)
    except ValidationError as error:
        raise InvalidFields(
            [_field_error(one) for one in error.errors(include_url=False, include_input=False)[:20]]
        ) from None
    return check_names(GrantSet.parse(given.grants), catalog)


def _field_error(one: Any) -> FieldError:
    if one["type"] == "extra_forbidden":
        detail = "there is no such name; known: grants"
    elif one["type"] == "missing":
        detail = "it is missing"
    else:
        detail = "it must be a list of grants"
    return FieldError(pointer=pointer_to(*one["loc"]), detail=detail)


async def _check_key(request: Request, key: KeyRecord, key_id: str) -> None:
    every = await services_of(request).keys.all(key.tenant)
    if all(one.id != key_id for one in every):
        raise NotFound("there is no key with this id", hint="`moonsand keys list` lists them")


def _store(request: Request) -> GrantStore:
    return GrantStore(services_of(request).redis)


def _answer(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
