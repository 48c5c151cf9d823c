"""
The routes of tenants, for operators' keys alone: make, show, list, suspend, resume, delete.

Every route needs the scope `tenants:admin`, which no key of an ordinary tenant can have.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.administration_shapes import TenantBody, TenantPage, TenantShown
from api.auth import TenantsAdmin
from api.bodies import read_model
from api.listing import Cursor, no_cursor, page_answer
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import services_of
from core.errors import Invalid
from tenancy.tenant_record import TenantRecord, no_such_tenant
from tenancy.tenant_store import MAX_PAGE, TenantStore
from tenancy.tenants import check_tenant
from triggers.tenant_end import end_tenant

router = APIRouter(
    prefix="/v1/tenants", tags=["tenants"], dependencies=[Depends(only_known_parameters)]
)
Name = Annotated[str, Path(description="Name of a tenant.")]


@router.get(
    "",
    operation_id="list_tenants",
    summary="List tenants",
    responses={200: {"model": TenantPage, "description": "A page, in order of names"}},
)
async def list_tenants(
    request: Request,
    _key: TenantsAdmin,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """List all tenants, those that were deleted too."""
    try:
        records, next_cursor = await _store(request).page(cursor, limit)
    except Invalid:
        raise no_cursor("it is no cursor that a page gave") from None
    return page_answer(request, [_shown(record) for record in records], next_cursor)


@router.post(
    "",
    operation_id="create_tenant",
    summary="Make a tenant",
    status_code=201,
    openapi_extra=json_body("TenantBody"),
    responses={201: {"model": TenantShown, "description": "It is there, without keys"}},
)
async def create_tenant(request: Request, key: TenantsAdmin) -> Response:
    """Make a tenant. Its first key is made by `POST /v1/keys` with `Moonsand-Tenant: <name>`."""
    body = await read_model(request, TenantBody)
    try:
        check_tenant(body.name)
    except Invalid as wrong:
        raise Invalid(wrong.detail, pointer="/name") from None
    record = await _store(request).create(body.name, by=key.id)
    return _answer(_shown(record), 201, {"Location": f"/v1/tenants/{record.name}"})


@router.get(
    "/{tenant}",
    operation_id="get_tenant",
    summary="Show a tenant",
    responses={200: {"model": TenantShown, "description": "The tenant as it is now"}},
)
async def get_tenant(request: Request, tenant: Name, _key: TenantsAdmin) -> Response:
    """Show one tenant, one that was deleted too."""
    return _answer(_shown(await _store(request).get(_name(tenant))))


@router.post(
    "/{tenant}/suspend",
    operation_id="suspend_tenant",
    summary="Suspend a tenant",
    responses={200: {"model": TenantShown, "description": "Suspended, now or before"}},
)
async def suspend_tenant(request: Request, tenant: Name, key: TenantsAdmin) -> Response:
    """Let its keys answer 403 and start nothing of it; what is queued stays, what runs goes on."""
    return _answer(_shown(await _store(request).suspend(_name(tenant), by=key.id)))


@router.post(
    "/{tenant}/resume",
    operation_id="resume_tenant",
    summary="Resume a tenant",
    responses={200: {"model": TenantShown, "description": "Active, now or before"}},
)
async def resume_tenant(request: Request, tenant: Name, key: TenantsAdmin) -> Response:
    """End a suspension; what is queued starts within seconds."""
    return _answer(_shown(await _store(request).resume(_name(tenant), by=key.id)))


@router.delete(
    "/{tenant}",
    operation_id="delete_tenant",
    summary="Delete a tenant",
    responses={200: {"model": TenantShown, "description": "Its keys and accounts are gone"}},
)
async def delete_tenant(request: Request, tenant: Name, key: TenantsAdmin) -> Response:
    """
    Delete a suspended tenant for ever: its runs end, and all go that opens, allows or starts.

    What its runs left in the ledger's archive is erased by `moonsand tenants delete --erase`, where
    the archive can be written.
    """
    name, redis = _name(tenant), services_of(request).redis
    await _store(request).check_deletable(name)
    await end_tenant(redis, name, by=key.id)
    return _answer(_shown(await _store(request).delete(name, by=key.id)))


def _store(request: Request) -> TenantStore:
    return TenantStore(services_of(request).redis)


def _name(tenant: str) -> str:
    # What cannot be a name is no tenant, to a path.
    try:
        return check_tenant(tenant)
    except Invalid:
        raise no_such_tenant("of this name") from None


def _shown(record: TenantRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "state": record.state,
        "created_ms": record.created_ms,
        "suspended_ms": record.suspended_ms,
        "deleted_ms": record.deleted_ms,
    }


def _answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = orjson.dumps(value)
    return Response(body, status_code=status, headers=headers, media_type="application/json")
