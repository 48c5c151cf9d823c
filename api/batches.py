"""The routes of batches: make, fill, show, list, cancel, and read the results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from api.auth import Reader, Writer
from api.batch_body import ItemChecks, take_terms
from api.batch_upload import BrokenOff, Lines, NumberedLine, fill, fill_listed, parse_aside
from api.idempotency import REPLAYED, idempotency_key
from api.lines import NDJSON, LineStream
from api.listing import Cursor, page_answer, wrong_cursor
from api.problems import RequestTimeout, UnsupportedMediaType
from api.runs import only_known_parameters
from api.schema import batch_body, items_body
from api.services import services_of
from api.shapes import BatchPage
from api.strict_json import parse, read_body
from core.errors import Conflict, Invalid, KeyReused, Refused, ServiceError
from integrations.grant_names import check_taking
from runs.batches.model import MAX_ITEMS, BatchRecord, BatchRequest, BatchState
from runs.batches.results import Results
from runs.batches.store import MAX_PAGE, BatchStore, Begun, Giver
from runs.batches.upload import Upload
from tenancy.grants import GrantSet
from tenancy.keys import KeyRecord
from tenancy.scopes import Scope
from triggers.batch_scripts import schema_of, with_saved_script
from triggers.saved import ScriptVersion
from triggers.scripts import SavedScripts

_NDJSON_TYPES = frozenset({NDJSON, "application/ndjson", "application/jsonl"})

router = APIRouter(
    prefix="/v1/batches", tags=["batches"], dependencies=[Depends(only_known_parameters)]
)


@router.post(
    "",
    operation_id="create_batch",
    summary="Run many",
    status_code=202,
    openapi_extra=batch_body(),
    responses={
        200: {"model": BatchRecord, "description": "This `Idempotency-Key` has made it before"},
        201: {"model": BatchRecord, "description": "Open, to be filled by `/items`"},
        202: {"model": BatchRecord, "description": "Accepted; `Location` is its address"},
    },
)
async def create_batch(request: Request, key: Writer) -> Response:
    """
    Make a batch of items: inputs for one script, or scripts.

    As NDJSON, each line is an item, and the first line may be `{"batch": {...}}` with the batch's
    terms. If the connection breaks nothing is run, and what came is kept for an hour: send the
    same again with the same `Idempotency-Key`, or the rest to `/items`.
    """
    if _is_ndjson(request):
        return await _create_streamed(request, key)
    value = await parse_aside(await read_body(request))
    if not isinstance(value, dict):
        raise Invalid("the body must be a JSON object", pointer="")
    items = value.pop("items", None)
    if items is not None and not isinstance(items, list):
        raise Invalid("it must be a list of items", pointer="/items")
    begun, version = await _begin(request, key, take_terms(value))
    if items is None:
        return _answer(begun.record, 201, begun)
    upload = Upload(_store(request), begun)
    checks = await _checks(request, key, begun, version)
    record = await _filled(request, begun, upload, fill_listed(upload, items, checks))
    return _answer(record, 202, begun)


async def _create_streamed(request: Request, key: KeyRecord) -> Response:
    with services_of(request).upload_of(key.tenant):
        lines = Lines(request)
        try:
            first = await lines.first()
            terms, first = _terms_of(first)
            begun, version = await _begin(request, key, take_terms(terms, "/batch"))
            upload = Upload(_store(request), begun)
            checks = await _checks(request, key, begun, version)
            record = await _filled(request, begun, upload, fill(upload, _all(first, lines), checks))
        except ServiceError:
            await lines.drain()
            raise
        except BrokenOff:
            return Response(status_code=400)  # nobody reads it
    return _answer(record, 202, begun)


@router.post(
    "/{batch_id}/items",
    operation_id="add_batch_items",
    summary="Fill a batch",
    status_code=202,
    openapi_extra=items_body(),
    responses={202: {"model": BatchRecord, "description": "Taken"}},
)
async def add_batch_items(
    request: Request,
    batch_id: str,
    key: Writer,
    first: Annotated[
        int,
        Query(
            alias="from",
            ge=0,
            le=MAX_ITEMS,
            description="How many items the batch has: its `counts.received`.",
        ),
    ],
    last: Annotated[  # noqa: FBT002 (a query parameter: nobody calls this by position)
        bool, Query(description="These are the last ones: the batch starts.")
    ] = True,
) -> Response:
    """
    Add items to a batch that is open, one a line.

    If the connection breaks, what came is kept: the batch's `counts.received` says from where to go
    on.
    """
    if not _is_ndjson(request):
        raise UnsupportedMediaType(
            "items must be NDJSON", hint=f"send Content-Type: {NDJSON}, one item a line"
        )
    with services_of(request).upload_of(key.tenant):
        lines = Lines(request)
        try:
            by = Giver(key.id, key.owner)
            begun = await _store(request).resumed(key.tenant, batch_id, by=by)
            upload = Upload(_store(request), begun, first=first)
            await fill(upload, aiter(lines), await _checks(request, key, begun))
            if last:
                return _answer(await upload.seal(), 202)
            await upload.flush()
        except ServiceError:
            await lines.drain()
            raise
        except BrokenOff:
            return Response(status_code=400)  # nobody reads it
    return _answer(await _store(request).get(key.tenant, batch_id), 202)


@router.get(
    "",
    operation_id="list_batches",
    summary="List batches",
    responses={200: {"model": BatchPage, "description": "A page, newest first"}},
)
async def list_batches(
    request: Request,
    key: Reader,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """List the tenant's batches, newest first."""
    with wrong_cursor():
        found, following = await _store(request).page(key.tenant, cursor=cursor, limit=limit)
    return page_answer(request, [one.model_dump(mode="json") for one in found], following)


@router.get(
    "/{batch_id}",
    operation_id="get_batch",
    summary="Show a batch",
    responses={200: {"model": BatchRecord, "description": "The batch as it is now"}},
)
async def get_batch(request: Request, batch_id: str, key: Reader) -> Response:
    """Show how far a batch is: how many items are where, and for which reasons they ended."""
    return _answer(await _store(request).get(key.tenant, batch_id), 200)


@router.get(
    "/{batch_id}/results",
    operation_id="get_batch_results",
    summary="Read a batch's results",
    response_class=Response,
    responses={
        200: {
            "description": "One `ItemResult` a line, in the order of items",
            "content": {NDJSON: {"schema": {"$ref": "#/components/schemas/ItemResult"}}},
        },
    },
)
async def get_batch_results(
    request: Request,
    batch_id: str,
    key: Reader,
    first: Annotated[
        int, Query(alias="from", ge=0, le=MAX_ITEMS, description="Index of the first item.")
    ] = 0,
) -> Response:
    """
    Read a line for each item, also while the batch runs.

    An item that has not ended is `pending`, `queued`, `running` or `waiting`, and has no `reason`.
    One that was never started, because the batch was stopped, is `skipped`.
    """
    services = services_of(request)
    record = await _store(request).get(key.tenant, batch_id)
    return LineStream(services, key.tenant, Results(services.redis, record).lines(first))


@router.post(
    "/{batch_id}/cancel",
    operation_id="cancel_batch",
    summary="Stop a batch",
    responses={
        200: {"model": BatchRecord, "description": "It has ended, now or before"},
        202: {"model": BatchRecord, "description": "Its runs are being cancelled"},
    },
)
async def cancel_batch(request: Request, batch_id: str, key: Writer) -> Response:
    """
    Start nothing more of a batch and cancel what is on its way.

    Asked again, or of a batch that has ended, it changes nothing.
    """
    record = await _store(request).cancel(key.tenant, batch_id)
    return _answer(record, 200 if record.status.terminal else 202)


def _store(request: Request) -> BatchStore:
    return services_of(request).batches


async def _begin(
    request: Request, key: KeyRecord, asked: BatchRequest
) -> tuple[Begun, ScriptVersion | None]:
    """Begin a batch; give it, and the version of a saved script that was looked up for it."""
    services = services_of(request)
    if asked.callback is not None:
        told = await services.triggers.callbacks.target(key.tenant, asked.callback)
        asked = replace(asked, callback=told)
    own_key = idempotency_key(request) or ""
    by = Giver(key.id, key.owner)
    asked = replace(asked, asked=asked.digest())
    # What a name meant when the batch was made holds, whatever it means by now.
    if own_key and asked.run.script_ref is not None:
        known = await _store(request).begun_before(key.tenant, asked, by=by, key=own_key)
        if known is not None:
            return known, None
    asked, version = await with_saved_script(SavedScripts(services.redis), key.tenant, asked)
    if asked.run.force:
        key.require(Scope.FORCE)
    if asked.run.grants:
        check_taking(GrantSet.parse(asked.run.grants), services.catalog)
    return await _store(request).begin(key.tenant, asked, by=by, key=own_key), version


async def _checks(
    request: Request, key: KeyRecord, begun: Begun, version: ScriptVersion | None = None
) -> ItemChecks:
    """Give what checks the items of a batch; those of one that has all are only compared."""
    services = services_of(request)
    terms = await _store(request).terms_of(key.tenant, begun.record.id)
    if terms.script_ref is None or begun.record.status is not BatchState.UPLOADING:
        return ItemChecks(terms)
    scripts = SavedScripts(services.redis)
    schema = await schema_of(scripts, key.tenant, terms.script_ref, version)
    return ItemChecks(terms, schema)


async def _filled(
    request: Request, begun: Begun, upload: Upload, filling: Coroutine[Any, Any, None]
) -> BatchRecord:
    """Fill a batch with what one request brings, and start it; one that is refused is forgotten."""
    try:
        await filling
        return await upload.seal()
    except (RequestTimeout, Conflict, KeyReused):
        raise  # what is there is not this request's, or may be gone on with
    except Refused:
        own_key = idempotency_key(request) or ""
        await _store(request).forget(begun.record.tenant, begun.record.id, own_key)
        raise


def _terms_of(line: NumberedLine | None) -> tuple[Any, NumberedLine | None]:
    """Give the terms that a first line has, or none and the line: it is an item."""
    if line is None:
        return {}, None
    value = parse(line[1])
    if not isinstance(value, dict) or "batch" not in value:
        return {}, line
    if len(value) > 1:
        raise Invalid("the line with `batch` has nothing else", pointer="")
    return value["batch"], None


async def _all(first: NumberedLine | None, lines: Lines) -> AsyncIterator[NumberedLine]:
    if first is not None:
        yield first
    async for line in lines:
        yield line


def _is_ndjson(request: Request) -> bool:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType(
            "the body must not be compressed", hint="send it without Content-Encoding"
        )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type in _NDJSON_TYPES


def _answer(record: BatchRecord, status: int, begun: Begun | None = None) -> Response:
    headers = {}
    if status != 200:
        headers["Location"] = f"/v1/batches/{record.id}"
    if record.status is not BatchState.UPLOADING and not record.status.terminal:
        headers["Retry-After"] = "1"
    if begun is not None and begun.again and begun.record.status is not BatchState.UPLOADING:
        headers[REPLAYED] = "true"
        status = 200
    body = orjson.dumps(record.model_dump(mode="json"))
    return Response(body, status_code=status, headers=headers, media_type="application/json")
