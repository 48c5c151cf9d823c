"""
Answers of many lines of JSON, written as they are read.

Runs in: api. Trusts: who reads the lines. Refuses: a client that takes nothing for a minute, and
more answers at once for one tenant than are allowed. May import: stdlib, anyio, starlette, core,
api.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import structlog
from fastapi import Response
from redis.exceptions import RedisError
from starlette.types import Receive, Scope, Send

from api.services import Services
from core.errors import ServiceError
from sandbox.limits import KIB

NDJSON = "application/x-ndjson"
_STALL_S = 60.0
_PIECE_BYTES = 64 * KIB
_log = structlog.get_logger("api.lines")


class LineStream(Response):
    """
    Sends lines until they end, the client leaves or stalls, or reading fails.

    An answer that was not sent to its end is cut off, so that its client knows.
    """

    media_type = NDJSON

    def __init__(self, services: Services, tenant: str, lines: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._services = services
        self._tenant = tenant
        self._lines = lines

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        with self._services.stream_of(self._tenant):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with anyio.create_task_group() as group:
                group.start_soon(_end_when_gone, receive, group.cancel_scope)
                await self._send_all(send)
                group.cancel_scope.cancel()

    async def _send_all(self, send: Send) -> None:
        piece = bytearray()
        try:
            async for line in self._lines:
                piece += line
                if len(piece) >= _PIECE_BYTES:
                    if not await _send(send, bytes(piece), more=True):
                        return
                    piece.clear()
        except (ServiceError, RedisError) as error:
            _log.warning("lines_broken_off", error=type(error).__name__)
            return
        await _send(send, bytes(piece), more=False)


async def _send(send: Send, body: bytes, *, more: bool) -> bool:
    with anyio.move_on_after(_STALL_S) as stall:
        await send({"type": "http.response.body", "body": body, "more_body": more})
    if stall.cancelled_caught:
        _log.info("lines_client_stalled")
    return not stall.cancelled_caught


async def _end_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
