"""
The route that Mux's events come to: `POST /v1/webhooks/mux/{connection_id}`.

Runs in: api. Trusts: nobody; there is no API key here. Refuses: what is not signed with the
connection's webhook secret, before it reads it. May import: stdlib, fastapi, core, runs, triggers,
api.

| Status | When |
|---|---|
| 404 | there is no such connection |
| 400 | it has no webhook secret, or what was signed is no JSON object |
| 401 | `Mux-Signature` is missing, malformed, too old, or of another secret or body |
| 200 | all else: the event is kept, and done if it is one that is handled |
"""

from __future__ import annotations

import re
import time
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from api.connections import answer
from api.connector_shapes import MuxEventAnswer
from api.problems import InvalidJson
from api.services import Services, services_of
from api.strict_json import read_raw
from api.waiting import wait_for_end
from core.errors import NotFound
from runs.model import State
from triggers.mux_mixpeek.jobs import Job, deleted_objects
from triggers.mux_mixpeek.model import Connection
from triggers.mux_mixpeek.work import Event
from triggers.receiving import MAX_EVENT_BYTES
from triggers.verification.delivery import Delivery
from triggers.verification.schemes import Scheme, event_id, verify

#: Mux gives up after five seconds, and sends the event again.
_WAIT_S = 3.5
_READ_S = 5.0
_HANDLED: dict[str, Event] = {
    "video.asset.deleted": "deleted",
    "video.asset.updated": "updated",
}
#: As Mux makes them; what could be no part of an address is no id.
_ASSET_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")

router = APIRouter(prefix="/v1/webhooks/mux", tags=["connections"])


@router.post(
    "/{connection_id}",
    operation_id="receive_mux_event",
    summary="Take an event of Mux",
    responses={200: {"model": MuxEventAnswer, "description": "What was done with it"}},
)
async def receive_mux_event(request: Request, connection_id: str) -> Response:
    """Take an event, signed by Mux; one that comes again is answered, and not done again."""
    services = services_of(request)
    connection = await services.connector.connections.find(connection_id)
    if connection is None:
        raise NotFound("there is no Mux connection with this id")
    request.state.tenant = connection.tenant
    secret = services.connector.connections.secret_of(connection)
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
    ]
    body = await read_raw(request, MAX_EVENT_BYTES, within_s=_READ_S)
    delivery = Delivery(headers, body)
    verify(Scheme.MUX, delivery, [secret], now_s=time.time())
    event = _parsed(body)
    return answer(await _answered(services, connection, delivery, event))


async def _answered(
    services: Services, connection: Connection, delivery: Delivery, event: dict[str, Any]
) -> dict[str, Any]:
    kind = event.get("type")
    said: dict[str, Any] = {
        "received": True,
        "event_type": kind if isinstance(kind, str) else None,
        "handled": False,
    }
    asset_id = _asset_id(event)
    if isinstance(kind, str) and kind.startswith("video.asset.") and asset_id:
        said["asset_id"] = asset_id
        if kind in _HANDLED:
            known = event_id(Scheme.MUX, delivery, event)
            deleted = await _done(services, connection, _HANDLED[kind], asset_id, known)
            said |= {"handled": True, "deleted_objects": deleted}
    return said


async def _done(
    services: Services, connection: Connection, event: Event, asset_id: str, known: str
) -> int | None:
    """Give the number of objects deleted; None when nobody knows yet, but it will be done."""
    jobs = services.connector.jobs
    job, _ = await jobs.take(connection, event, asset_id, known)
    return await _deleted(services, job)


async def _deleted(services: Services, job: Job) -> int | None:
    jobs = services.connector.jobs
    job = await jobs.get(job.id) or job
    if job.done:
        return job.deleted
    record = await jobs.record(job)
    if record is None:
        return None
    record = await wait_for_end(services, record, _WAIT_S)
    if record.status is not State.SUCCEEDED:
        return None
    record = await services.store.get(job.tenant, record.id)
    return job.deleted + deleted_objects(record)


def _asset_id(event: dict[str, Any]) -> str | None:
    # What is a part of an asset, as a track, has an id of its own, and names its asset beside it.
    for place, name in (("data", "asset_id"), ("data", "id"), ("object", "id")):
        inner = event.get(place)
        found = inner.get(name) if isinstance(inner, dict) else None
        if isinstance(found, str) and _ASSET_ID.fullmatch(found):
            return found
    return None


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidJson("the payload is not valid JSON") from None
    if not isinstance(event, dict):
        raise InvalidJson("the payload is no JSON object")
    return event
