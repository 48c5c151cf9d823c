"""
The routes of connections to Mux, in the shapes of Mixpeek's own API.

Runs in: api. Trusts: workers' answers about the vault. Refuses: to show a secret; an access token
from a key that may not set accounts. May import: stdlib, fastapi, core, integrations (not the
broker), runs, tenancy, triggers, api.

The access token goes to the desk at once and is an account of the tenant from then on; the
webhook secret is sealed before it is kept.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from api.auth import TriggersReader, TriggersWriter
from api.bodies import read_model
from api.connector_shapes import ConnectionList, ConnectionShown, ConnectionTrial, Success
from api.idempotency import idempotent
from api.listing import Cursor
from api.problems import FieldError, InvalidFields
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import Services, services_of
from api.waiting import wait_for_end
from core.errors import Conflict, Invalid, NotFound
from runs.model import RunRecord
from runs.trial import trial_of, verdict
from tenancy.desk import Do
from tenancy.keys import KeyRecord
from tenancy.scopes import Scope
from triggers.kept import MAX_PAGE
from triggers.mux_mixpeek.model import (
    CONNECTION,
    Connection,
    ConnectionChange,
    ConnectionConfig,
    Credentials,
)
from triggers.starting import Owner

_TRIAL_S = 30
_CREDENTIALS = "/provider_config/credentials"

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]

router = APIRouter(
    prefix="/v1/organizations/connections",
    tags=["connections"],
    dependencies=[Depends(only_known_parameters)],
)


class ConnectionFilter(BaseModel):
    """Which connections to list."""

    model_config = ConfigDict(extra="forbid", strict=True)

    provider_type: str | None = None
    is_active: bool | None = None
    status: str | None = None


@router.post(
    "",
    operation_id="create_connection",
    summary="Connect Mux",
    openapi_extra=json_body("ConnectionConfig"),
    responses={200: {"model": ConnectionShown, "description": "The connection"}},
)
async def create_connection(request: Request, key: TriggersWriter) -> Response:
    """Make a connection; its credentials are tried first, unless `test_before_save` is false."""
    given = await read_model(request, ConnectionConfig)
    services = services_of(request)
    named = given.provider_config.credentials
    _may_set_accounts(key, named)
    connections = services.connector.connections
    async with idempotent(request, key) as once:
        if once.replayed is not None:
            return once.replayed
        known = await once.found(CONNECTION, partial(connections.get, key.tenant))
        if known is not None:
            return once.tell_again(answer(known.shown()))
        made = connections.new(key.tenant, given, connection_id=once.new_id(CONNECTION))
        await connections.check_name(key.tenant, given.name)
        await _set_account(services, key, made, named)
        try:
            if given.test_before_save:
                key.require(Scope.WRITE)
                await _require_working(services, key, made)
            await connections.add(made, by=key.id)
        except Exception:
            # A try that was taken for dead may have kept it meanwhile, with this account.
            if not await _is_kept(services, made):
                await _forget_account(services, made)
            raise
        return once.keep(answer(made.shown()))


@router.post(
    "/list",
    operation_id="list_connections",
    summary="List connections",
    responses={200: {"model": ConnectionList, "description": "A page, newest first"}},
)
async def list_connections(
    request: Request, key: TriggersReader, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List the tenant's connections; a body may say which."""
    wanted = await read_filter(request, ConnectionFilter)
    rows, after = await paged(services_of(request).connector.connections.page, key, cursor, limit)
    shown = [one.shown() for one in rows]
    return answer(page_of([one for one in shown if fits(one, wanted)], after))


@router.get(
    "/{connection}",
    operation_id="get_connection",
    summary="Show a connection",
    responses={200: {"model": ConnectionShown, "description": "The connection"}},
)
async def get_connection(request: Request, connection: str, key: TriggersReader) -> Response:
    """Show a connection by its id or name."""
    found = await services_of(request).connector.connections.get(key.tenant, connection)
    return answer(found.shown())


@router.patch(
    "/{connection}",
    operation_id="update_connection",
    summary="Change a connection",
    openapi_extra=json_body("ConnectionChange"),
    responses={200: {"model": ConnectionShown, "description": "The connection as it is then"}},
)
async def update_connection(request: Request, connection: str, key: TriggersWriter) -> Response:
    """
    Change a connection; `provider_config` and `metadata` are replaced whole.

    Whoever changes `provider_config` takes over the syncs of the connection, which needs
    `runs:write`: who can point them elsewhere, or sign their events, does so with their own rights.
    """
    given = await read_model(request, ConnectionChange)
    services = services_of(request)
    connections = services.connector.connections
    before = await connections.get(key.tenant, connection)
    await connections.check_change(key.tenant, before.id, given)
    if given.provider_config is not None:
        named = given.provider_config.credentials
        _may_set_accounts(key, named)
        await _take_over(services, key, before)
        await _set_account(services, key, before, named)
    after = await connections.change(key.tenant, before.id, given, by=key.id)
    if before.own_account and not after.own_account:
        await _forget_account(services, before)
    return answer(after.shown())


@router.delete(
    "/{connection}",
    operation_id="delete_connection",
    summary="Delete a connection",
    responses={200: {"model": Success, "description": "It is gone, and its account"}},
)
async def delete_connection(request: Request, connection: str, key: TriggersWriter) -> Response:
    """Delete a connection that no sync uses, with the account that was made with it."""
    services = services_of(request)
    connections = services.connector.connections
    found = await connections.get(key.tenant, connection)
    if await services.connector.syncs.of_connection(key.tenant, found.id):
        raise Conflict(
            "syncs use this connection",
            hint="delete them first; objects that they made stay at Mixpeek",
        )
    await _forget_account(services, found)
    await connections.remove(key.tenant, found.id, by=key.id)
    return answer({"success": True})


@router.post(
    "/{connection}/test",
    operation_id="test_connection",
    summary="Try a connection",
    responses={200: {"model": ConnectionTrial, "description": "Mux was asked, or could not be"}},
)
async def test_connection(request: Request, connection: str, key: TriggersReader) -> Response:
    """Make one reading call at Mux, as a run; it needs `runs:write` as well."""
    key.require(Scope.WRITE)
    services = services_of(request)
    found = await services.connector.connections.get(key.tenant, connection)
    return answer(await _tried(services, key, found))


# --- parts, also of other routes of the connector ------------------------------------------------


def answer(value: Any, status: int = 200) -> Response:
    """Answer with a JSON value."""
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")


def page_of(results: list[Any], after: str | None) -> dict[str, Any]:
    """Make a page in Mixpeek's shape."""
    return {"results": results, "pagination": {"next_cursor": after}}


async def paged(page: Any, key: KeyRecord, cursor: str | None, limit: int) -> tuple[Any, Any]:
    """
    Read a page; a cursor that is none is the parameter's fault.

    Raises:
        InvalidFields: it is.
    """
    try:
        rows, after = await page(key.tenant, cursor=cursor, limit=limit)
    except Invalid as error:
        raise InvalidFields([FieldError(parameter="cursor", detail=error.detail)]) from None
    return rows, after


async def read_filter(request: Request, model: type[BaseModel]) -> dict[str, Any]:
    """Read the body of a list, which need not be there."""
    if request.headers.get("content-length", "0") == "0" and "content-type" not in request.headers:
        return {}
    return (await read_model(request, model)).model_dump(exclude_none=True)


def fits(shown: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Tell whether something is among those that were asked for."""
    return all(shown[name] == value for name, value in wanted.items())


def _may_set_accounts(key: KeyRecord, named: Credentials) -> None:
    if named.token is not None:
        key.require(Scope.CREDENTIALS_WRITE)


async def _take_over(services: Services, key: KeyRecord, connection: Connection) -> None:
    syncs = services.connector.syncs
    for sync in await syncs.of_connection(key.tenant, connection.id):
        key.require(Scope.WRITE)
        with suppress(NotFound):  # deleted just now
            await syncs.hand_over(sync, Owner(key.id, key.owner))


async def _set_account(
    services: Services, key: KeyRecord, connection: Connection, named: Credentials
) -> None:
    if named.token is None:
        return
    try:
        await services.desk.ask(Do.SET, key.tenant, "mux", connection.id, named.token)
    except Invalid as error:
        raise Invalid(error.detail, pointer=_CREDENTIALS, hint=error.hint) from None


async def _is_kept(services: Services, made: Connection) -> bool:
    try:
        await services.connector.connections.get(made.tenant, made.id)
    except NotFound:
        return False
    return True


async def _forget_account(services: Services, connection: Connection) -> None:
    if not connection.own_account:
        return
    try:
        await services.desk.ask(Do.DELETE, connection.tenant, "mux", connection.id)
    except NotFound:
        return


async def _require_working(services: Services, key: KeyRecord, connection: Connection) -> None:
    tried = await _tried(services, key, connection)
    if not tried["success"]:
        raise Invalid(
            f"Mux was not reached with these credentials: {tried['message']}",
            pointer=_CREDENTIALS,
            hint="check the access token, or send `test_before_save` as false",
        )


async def _tried(services: Services, key: KeyRecord, connection: Connection) -> dict[str, Any]:
    pack = services.catalog.integrations["mux"].pack
    if pack is None:
        raise NotFound("there is no integration mux")
    request = trial_of(pack, connection.account)
    record: RunRecord = await services.store.submit(key.tenant, request, key_id=key.id)
    record = await wait_for_end(services, record, _TRIAL_S)
    if not record.status.terminal:
        return {"success": False, "message": "no answer came in time", "run": record.id}
    found = verdict(await services.store.get(key.tenant, record.id))
    message = "ok" if found["ok"] else str(found.get("message") or found.get("code"))
    return {"success": bool(found["ok"]), "message": message[:500], "run": record.id}
