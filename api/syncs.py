"""
The routes of syncs, and of the buckets that they fill, in the shapes of Mixpeek's own API.

Runs in: api. Trusts: the results of its own runs only as far as they are shown. Refuses: a sync of
a connection that is not the tenant's; keys that may not start runs, since a sync does.
May import: stdlib, fastapi, core, runs, tenancy, triggers, api.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict

from api.auth import TriggersReader, TriggersWriter
from api.bodies import read_model
from api.connections import (
    Limit,
    answer,
    fits,
    page_of,
    paged,
    read_filter,
)
from api.connector_shapes import Success, SyncList, SyncShown, Triggered
from api.idempotency import idempotent
from api.listing import Cursor
from api.problems import FieldError, InvalidFields
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import services_of
from api.waiting import wait_for_end
from core.errors import Conflict, Invalid, NotFound
from runs.model import State
from tenancy.keys import KeyRecord
from tenancy.scopes import Scope
from triggers.mux_mixpeek.model import SYNC, BucketConfig, Sync, SyncChange, SyncConfig
from triggers.mux_mixpeek.work import bucket_of
from triggers.starting import Owner

_BUCKET_S = 30
_SYNC = "/{bucket_id}/syncs/{sync_id}"
Bucket = Annotated[str, Path(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+$")]
Namespace = Annotated[
    str | None,
    Header(
        alias="X-Namespace",
        min_length=1,
        max_length=256,
        description="Namespace at Mixpeek, instead of the account's.",
    ),
]

router = APIRouter(
    prefix="/v1/buckets", tags=["syncs"], dependencies=[Depends(only_known_parameters)]
)


class SyncFilter(BaseModel):
    """Which syncs to list."""

    model_config = ConfigDict(extra="forbid", strict=True)

    connection_id: str | None = None
    status: str | None = None
    is_active: bool | None = None


@router.post(
    "",
    operation_id="create_bucket",
    summary="Make a bucket at Mixpeek",
    openapi_extra=json_body("BucketConfig"),
    responses={200: {"description": "Mixpeek's own answer, with `bucket_id`"}},
)
async def create_bucket(
    request: Request, key: TriggersWriter, x_namespace: Namespace = None
) -> Response:
    """Make a bucket, as a run with the tenant's account of Mixpeek; it needs `runs:write`."""
    key.require(Scope.WRITE)
    given = await read_model(request, BucketConfig)
    services = services_of(request)
    namespace = _one_namespace(given.namespace_id, x_namespace)
    work = bucket_of(given.mixpeek_account, given.for_script(namespace))
    async with idempotent(request, key, also=namespace or "") as once:
        if once.replayed is not None:
            return once.replayed
        record = await services.connector.workshop.start(
            key.tenant, work, owner=_owner(key), run_id=once.new_id("run")
        )
        once.made()  # whatever becomes of the run: the same request is answered by the same one
        record = await wait_for_end(services, record, _BUCKET_S)
        record = await services.store.get(key.tenant, record.id)
        if record.status is not State.SUCCEEDED or not isinstance(record.result, dict):
            why = record.error.message if record.error else f"the run is {record.status}"
            hint = f"GET /v1/runs/{record.id} shows more"
            raise Conflict(f"no bucket was made: {why}", hint=hint)
        return once.keep(answer(record.result))


@router.post(
    "/{bucket_id}/syncs",
    operation_id="create_sync",
    summary="Fill a bucket from Mux",
    openapi_extra=json_body("SyncConfig"),
    responses={200: {"model": SyncShown, "description": "The sync; its first cycle is due"}},
)
async def create_sync(
    request: Request, bucket_id: Bucket, key: TriggersWriter, x_namespace: Namespace = None
) -> Response:
    """Make a sync; its runs have the grants of this key, which needs `runs:write` as well."""
    key.require(Scope.WRITE)
    given = await read_model(request, SyncConfig)
    connector = services_of(request).connector
    try:
        connection = await connector.connections.get(key.tenant, given.connection_id)
    except NotFound as error:
        raise Invalid(error.detail, pointer="/connection_id", hint=error.hint) from None
    namespace = _one_namespace(given.namespace_id, x_namespace)
    config = given.model_copy(update={"connection_id": connection.id, "namespace_id": namespace})
    config.model_fields_set.update({"connection_id", "namespace_id"})
    async with idempotent(request, key, also=namespace or "") as once:
        if once.replayed is not None:
            return once.replayed
        known = await once.found(SYNC, partial(connector.syncs.get, key.tenant, bucket_id))
        if known is not None:
            return once.tell_again(answer(known.shown()))
        sync = await connector.syncs.add(
            key.tenant, bucket_id, config, by=_owner(key), sync_id=once.new_id(SYNC)
        )
        return once.keep(answer(sync.shown()))


@router.post(
    "/{bucket_id}/syncs/list",
    operation_id="list_syncs",
    summary="List syncs",
    responses={200: {"model": SyncList, "description": "A page, newest first"}},
)
async def list_syncs(
    request: Request,
    bucket_id: Bucket,
    key: TriggersReader,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List the syncs of a bucket; a body may say which. A page may hold fewer than `limit`."""
    wanted = {**await read_filter(request, SyncFilter), "bucket_id": bucket_id}
    rows, after = await paged(services_of(request).connector.syncs.page, key, cursor, limit)
    shown = [one.shown() for one in rows]
    return answer(page_of([one for one in shown if fits(one, wanted)], after))


@router.get(
    _SYNC,
    operation_id="get_sync",
    summary="Show a sync",
    responses={200: {"model": SyncShown, "description": "The sync, and what it came to"}},
)
async def get_sync(
    request: Request, bucket_id: Bucket, sync_id: str, key: TriggersReader
) -> Response:
    """Show a sync."""
    return answer((await _find(request, key, bucket_id, sync_id)).shown())


@router.patch(
    _SYNC,
    operation_id="update_sync",
    summary="Change a sync",
    openapi_extra=json_body("SyncChange"),
    responses={200: {"model": SyncShown, "description": "The sync as it is then"}},
)
async def update_sync(
    request: Request, bucket_id: Bucket, sync_id: str, key: TriggersWriter
) -> Response:
    """Change a sync, from the next cycle on; its runs have the grants of this key then."""
    key.require(Scope.WRITE)
    given = await read_model(request, SyncChange)
    syncs = services_of(request).connector.syncs
    changed = await syncs.change(
        key.tenant, bucket_id, sync_id, given, by=key.id, owner=_owner(key)
    )
    return answer(changed.shown())


@router.delete(
    _SYNC,
    operation_id="delete_sync",
    summary="Delete a sync",
    responses={200: {"model": Success, "description": "It is gone; its objects stay"}},
)
async def delete_sync(
    request: Request, bucket_id: Bucket, sync_id: str, key: TriggersWriter
) -> Response:
    """Delete a sync and stop its cycle; objects that it made stay at Mixpeek."""
    services = services_of(request)
    sync = await _find(request, key, bucket_id, sync_id)
    over = True
    if sync.run is not None:
        with suppress(NotFound):
            over = (await services.store.cancel(key.tenant, sync.run)).status.terminal
    await services.connector.syncs.remove(sync, by=key.id, hold=not over)
    return answer({"success": True})


@router.post(
    f"{_SYNC}/pause",
    operation_id="pause_sync",
    summary="Pause a sync",
    responses={200: {"model": SyncShown, "description": "It begins no more cycles"}},
)
async def pause_sync(
    request: Request, bucket_id: Bucket, sync_id: str, key: TriggersWriter
) -> Response:
    """Begin no more cycles; one that is under way goes on to its end."""
    return await _switched(request, key, bucket_id, sync_id, on=False)


@router.post(
    f"{_SYNC}/resume",
    operation_id="resume_sync",
    summary="Resume a sync",
    responses={200: {"model": SyncShown, "description": "Its next cycle is due"}},
)
async def resume_sync(
    request: Request, bucket_id: Bucket, sync_id: str, key: TriggersWriter
) -> Response:
    """Begin cycles again, at once; its runs have the grants of this key then."""
    key.require(Scope.WRITE)
    return await _switched(request, key, bucket_id, sync_id, on=True)


@router.post(
    f"{_SYNC}/trigger",
    operation_id="trigger_sync",
    summary="Run a sync now",
    responses={200: {"model": Triggered, "description": "A cycle is under way"}},
)
async def trigger_sync(
    request: Request, bucket_id: Bucket, sync_id: str, key: TriggersWriter
) -> Response:
    """Begin a cycle now; while one is under way that one is given, and another follows it."""
    key.require(Scope.WRITE)
    connector = services_of(request).connector
    sync = await _find(request, key, bucket_id, sync_id)
    if not sync.config.is_active:
        raise Conflict("the sync is paused", hint="resume it first")
    if sync.run is not None:
        await connector.syncs.ask_again(sync.id)
        return answer({"sync_job_id": sync.run})
    run = await connector.cycles.begin(sync)
    if run is None:
        now = await _find(request, key, bucket_id, sync_id)
        why = now.last_error or "another sync fills the same bucket at the moment"
        raise Conflict(f"no cycle was begun: {why}", hint="try again later")
    return answer({"sync_job_id": run})


async def _switched(
    request: Request, key: KeyRecord, bucket_id: str, sync_id: str, *, on: bool
) -> Response:
    change = SyncChange(is_active=on)
    syncs = services_of(request).connector.syncs
    owner = _owner(key) if on else None
    changed = await syncs.change(key.tenant, bucket_id, sync_id, change, by=key.id, owner=owner)
    return answer(changed.shown())


async def _find(request: Request, key: KeyRecord, bucket_id: str, sync_id: str) -> Sync:
    return await services_of(request).connector.syncs.get(key.tenant, bucket_id, sync_id)


def _one_namespace(in_body: str | None, in_header: str | None) -> str | None:
    if in_body is not None and in_header is not None and in_body != in_header:
        detail = "it differs from the header X-Namespace"
        raise InvalidFields([FieldError(pointer="/namespace_id", detail=detail)])
    return in_header if in_body is None else in_body


def _owner(key: KeyRecord) -> Owner:
    return Owner(key.id, key.owner)
