"""Around every request: id, log line, count, safety headers, and a net under all errors."""

from __future__ import annotations

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Requests
from api.problems import internal_problem
from core.ids import new_id

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PATH_CHARS = 200
_METHOD_CHARS = 16
_QUIET = {"/healthz", "/readyz"}
_log = structlog.get_logger("api.request")


class RequestContext:
    """
    Gives each request an id, echoed as `X-Request-Id`, and logs one line when it ends.

    A caller's own id is taken when it is 1 to 128 letters, digits, dots, hyphens and
    underscores; anything else is replaced. The log holds neither headers, query nor body.
    """

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0
        started = time.monotonic()

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _mark(MutableHeaders(scope=message), request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except ClientDisconnect:
            pass  # within its body: nobody is there to be answered, and anybody may do that
        except Exception:
            _log.exception("unhandled")
            if status:
                raise  # the answer has begun: only a broken connection can say so now
            await internal_problem(request_id)(scope, receive, send_marked)
        finally:
            seconds = time.monotonic() - started
            self._requests.note(scope, status, seconds)
            _log_end(scope, state.get("tenant"), status, seconds)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else new_id("req")


def _mark(headers: MutableHeaders, request_id: str) -> None:
    headers["X-Request-Id"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Cache-Control", "no-store")


def _log_end(scope: Scope, tenant: str | None, status: int, seconds: float) -> None:
    log = _log.debug if scope["path"] in _QUIET else _log.info
    log(
        "request",
        method=scope["method"][:_METHOD_CHARS],
        path=scope["path"][:_PATH_CHARS],
        status=status,
        tenant=tenant,
        duration_ms=round(seconds * 1000, 1),
    )
