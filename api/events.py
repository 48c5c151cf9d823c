"""
The route of a run's events: server-sent events that can be resumed.

Each event has the id of its entry in the run's stream, so a client that lost the connection
sends the last one it saw as `Last-Event-ID` and misses nothing. The stream ends after the
event of a terminal state; asked for more, 204 tells a browser not to come back.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import orjson
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from redis.exceptions import RedisError
from starlette.types import Receive, Scope, Send

from api.auth import Reader
from api.problems import FieldError, InvalidFields
from api.runs import find_run, only_known_parameters
from api.services import Services, services_of
from core.errors import ServiceError
from runs.events import Event

PING_S = 15.0
#: A client that takes nothing for this long is dropped; it can resume.
STALL_S = 60.0
FROM_THE_START = "0-0"
_EVENT_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_MAX_UINT64 = 2**64 - 1
_log = structlog.get_logger("api.events")

router = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=[Depends(only_known_parameters)])


@router.get(
    "/{run_id}/events",
    operation_id="watch_run",
    summary="Watch a run",
    response_class=Response,
    responses={
        200: {
            "description": "Events `state`, `log` and `call`; each `data` is a JSON object",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        204: {"description": "The run has ended and there is nothing after `Last-Event-ID`"},
    },
)
async def watch_run(
    request: Request,
    run_id: str,
    key: Reader,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event seen, to go on after it.")
    ] = None,
) -> Response:
    """Follow a run's states, printed text and calls as they happen."""
    services = services_of(request)
    after = _check_event_id(last_event_id or FROM_THE_START)
    record = await find_run(services, key.tenant, run_id)
    events = services.store.events(key.tenant, run_id, after=after)
    if not record.status.terminal:
        return EventStream(services, key.tenant, None, events)
    # All is there already, so asking for one event does not wait.
    first = await anext(events, None)
    if first is None:
        return Response(status_code=204)
    return EventStream(services, key.tenant, first, events)


class EventStream(Response):
    """
    Sends events until they end, the client leaves or stalls, or the process is told to stop.

    Whichever comes first ends the others, so no task and no Redis connection outlives it.
    """

    media_type = "text/event-stream"

    def __init__(
        self, services: Services, tenant: str, first: Event | None, events: AsyncIterator[Event]
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._services = services
        self._tenant = tenant
        self._first = first
        self._events = events
        self._whole = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        with self._services.stream_of(self._tenant):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with anyio.create_task_group() as group:
                into, out = anyio.create_memory_object_stream[Event](0)
                group.start_soon(self._read, into)
                group.start_soon(_end_when_gone, receive, group.cancel_scope)
                group.start_soon(self._end_when_draining, group.cancel_scope)
                with out:
                    await _deliver(out, send)
                group.cancel_scope.cancel()
            if self._whole:
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read(self, into: MemoryObjectSendStream[Event]) -> None:
        # Reading stands in a task of its own: a ping must not cut short the wait for an event.
        try:
            with into:
                if self._first is not None:
                    await into.send(self._first)
                async for event in self._events:
                    await into.send(event)
                self._whole = True
        except (ServiceError, RedisError) as error:
            # The answer has begun: an unfinished body tells the client to come back.
            _log.warning("events_broken_off", error=type(error).__name__)

    async def _end_when_draining(self, scope: anyio.CancelScope) -> None:
        await self._services.draining.wait()
        self._whole = True
        scope.cancel()


async def _deliver(out: MemoryObjectReceiveStream[Event], send: Send) -> None:
    while True:
        chunk = KEEPALIVE_COMMENT
        with anyio.move_on_after(PING_S):
            try:
                chunk = _encode(await out.receive())
            except anyio.EndOfStream:
                return
        with anyio.move_on_after(STALL_S) as stall:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if stall.cancelled_caught:
            _log.info("events_client_stalled")
            return


async def _end_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _encode(event: Event) -> bytes:
    data = orjson.dumps(event.data).decode()
    return format_sse_event(data_str=data, event=event.type, id=event.id)


def _check_event_id(text: str) -> str:
    found = _EVENT_ID.fullmatch(text)
    if found is None or max(int(found[1]), int(found[2])) > _MAX_UINT64:
        raise InvalidFields(
            [FieldError(header="Last-Event-ID", detail="it must be the id of an event, as 1-0")]
        )
    return text
