"""
The listener of `/metrics`: a port of its own, so that no key of a tenant ever leads there.

Runs in: api. Trusts: whoever can reach the port; by default that is this host alone.
Refuses: every other path. May import: uvicorn, starlette, core.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.metrics import CONTENT_TYPE, Requests, exposition
from core.errors import Unavailable
from core.tasks import end_tasks

if TYPE_CHECKING:
    from api.services import Services
    from core.settings import Settings

_BACKLOG = 16


class _Beside(uvicorn.Server):
    """A server in the loop of another one, which sees to the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(settings: Settings) -> socket.socket | None:
    """
    Take the port that the settings name; None when they name none.

    Raises:
        Unavailable: the address cannot be listened on.
    """
    host, port = settings.metrics_host, settings.metrics_port
    if port is None:
        return None
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)  # who asks before the server is up is answered then
    except OSError as error:
        bound.close()
        raise Unavailable(
            f"metrics cannot listen on {host} port {port}: {error.strerror}",
            hint="set MOONSAND_METRICS_HOST and MOONSAND_METRICS_PORT",
        ) from None
    return bound


@asynccontextmanager
async def listening(
    bound: socket.socket | None, services: Services, requests: Requests
) -> AsyncIterator[int | None]:
    """Answer `/metrics` at a port that was taken, which is closed in the end; give its number."""
    if bound is None:
        yield None
        return

    async def metrics(_: Request) -> Response:
        text = await exposition(services, requests)
        headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
        return Response(text, headers=headers)

    app = Starlette(routes=[Route("/metrics", metrics)])
    host, port, *_ = bound.getsockname()
    server = _Beside(
        uvicorn.Config(
            app, ws="none", lifespan="off", server_header=False, access_log=False, log_config=None
        )
    )
    task = asyncio.create_task(server.serve(sockets=[bound]), name="metrics")
    structlog.get_logger("api").info("metrics", host=host, port=port)
    try:
        yield int(port)
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.wait([task], timeout=1)
        await end_tasks(task)
        bound.close()
