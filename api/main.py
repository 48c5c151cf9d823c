"""Entry point of the API process."""

from __future__ import annotations

import gc
import signal
import socket
import threading

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.protocol import PunctualH11Protocol
from core.errors import Unavailable
from core.logs import configure_logs
from core.redis_client import check_server, connect
from core.settings import Settings

_KEEP_ALIVE_S = 65
_BACKLOG = 2_048
_COLLECT_AFTER_OBJECTS = 100_000


def run_api(settings: Settings, *, listener: socket.socket | None = None) -> int:
    """
    Serve until SIGTERM or SIGINT, then end open answers and return 0.

    Args:
        settings: all of them; `host` and `port` count only without a `listener`.
        listener: a bound TCP socket to serve on, so that who starts us knows the port.

    Raises:
        Unavailable: Redis is away or unfit, or the address cannot be listened on.
        PackInvalid: a pack of the operator's own cannot be used.
    """
    configure_logs(settings.log_level)
    if settings.redis_url is None:
        raise Unavailable("no Redis was named", hint="set REDIS_URL")
    with connect(settings.redis_url) as client:
        check_server(client, settings.environment)
    with listener or _listen(settings) as bound:
        host, port, *_ = bound.getsockname()
        structlog.get_logger("api").info("listening", host=host, port=port)
        _return_after_signals()
        _collect_less()
        Server(settings).run(sockets=[bound])
    return 0


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    # No proxy's word is believed, and nothing says what serves here.
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=PunctualH11Protocol,
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
        backlog=_BACKLOG,
    )


class Server(uvicorn.Server):
    """Tells the application when it is to stop, so that streams and waiting requests end."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        super().__init__(_config(self.app, settings))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End open answers, then everything else."""
        self.app.state.services.draining.set()
        await super().shutdown(sockets)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        raise Unavailable(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}",
            hint="set MOONSAND_HOST and MOONSAND_PORT; port 0 takes a free one",
        ) from None
    return bound


def _collect_less() -> None:
    # A JSON body makes hundreds of thousands of objects and no cycles; with the default threshold
    # the collector walks them again and again and parsing takes ten times as long.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, 20, 20)


def _return_after_signals() -> None:
    # uvicorn ends well on these and then raises them again for whoever handled them before:
    # without a handler of ours the process would die of the signal instead of returning.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
