"""
Faults a stub can be told to show, and counters of what reached it.

`GET /__stub__/requests` gives the counters and the last requests; `PUT /__stub__/faults` takes
`{"route": "POST /video/v1/assets", "kind": "drop", "times": 1}`; `DELETE /__stub__/faults` ends
all faults and sets the counters back.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FaultKind = Literal[
    "answer",  # `status`, `body`, `headers` as given, without asking the vendor's logic
    "delay",  # `seconds`, then as usual
    "gather",  # nothing until `together` requests wait for it, then all as usual
    "drop",  # the vendor does it, then the connection breaks without an answer
    "drop_body",  # the head of the answer comes, the body breaks off
    "refuse",  # the connection breaks before the vendor does it
    "drip",  # one byte of an endless body every `seconds`
    "gzip_bomb",  # `bytes` of zeros, compressed a thousandfold
    "oversize",  # `bytes` of JSON
]
_LOG = 200


@dataclass(slots=True)
class Fault:
    """One fault on one route (`POST /video/v1/assets`, or `*`), shown `times` times."""

    kind: FaultKind
    route: str = "*"
    times: int = 1
    status: int = 500
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.05
    bytes: int = 64 << 20
    together: int = 2
    _held: list[asyncio.Future[None]] = field(default_factory=list, init=False)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Fault:
        """Take a fault from its JSON form; `body` is text there."""
        if given.get("kind") not in get_args(FaultKind):
            raise ValueError(f"kind must be one of {', '.join(get_args(FaultKind))}")
        return cls(**{**given, "body": str(given.get("body", "")).encode()})

    async def passed(self) -> None:
        """Wait for `seconds`, or until `together` wait here, this one included."""
        if self.kind == "delay":
            await asyncio.sleep(self.seconds)
            return
        mine = asyncio.get_running_loop().create_future()
        self._held.append(mine)
        if len(self._held) >= self.together:
            held, self._held = self._held, []
            for one in held:
                one.set_result(None)
        await mine


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived: `target` is path and query, undecoded."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Faulty:
    """Wraps a stub: counts and keeps requests, and shows the faults it was told to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._faults: list[Fault] = []
        self._resets = 0
        self.counts: Counter[str] = Counter()
        self.seen: deque[Seen] = deque(maxlen=_LOG)

    def add(self, fault: Fault) -> None:
        """Show a fault from the next request on."""
        self._faults.append(fault)

    def reset(self) -> None:
        """End all faults, forget all requests, and carry out none that is held."""
        self._resets += 1
        self._faults.clear()
        self.counts.clear()
        self.seen.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await _read(receive)
        if body is None:
            return
        if scope["path"].startswith("/__stub__/"):
            await self._control(scope, body)(scope, receive, send)
            return
        route = f"{scope['method']} {scope['path']}"
        query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        target = scope["raw_path"].decode() + query
        self.counts[route] += 1
        self.seen.append(Seen(scope["method"], target, dict(Headers(scope=scope)), body))
        replay = _replay(body, receive)
        fault = self._take(route)
        if fault is None:
            await self._app(scope, replay, send)
        else:
            await _show(fault, self._unless_reset(receive), scope, receive, replay, send)

    def _unless_reset(self, receive: Receive) -> ASGIApp:
        """Give what carries a request out if all is not reset while it is held."""
        resets = self._resets

        async def carry_out(scope: Scope, replay: Receive, send: Send) -> None:
            if self._resets == resets:
                await self._app(scope, replay, send)
            else:
                await _cut(receive)

        return carry_out

    def _take(self, route: str) -> Fault | None:
        for fault in self._faults:
            if fault.route in {"*", route}:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None

    def _control(self, scope: Scope, body: bytes) -> Response:
        what = scope["method"], scope["path"]
        if what == ("GET", "/__stub__/requests"):
            last = [{"method": one.method, "target": one.target} for one in self.seen]
            return _json({"counts": dict(self.counts), "last": last})
        if what == ("DELETE", "/__stub__/faults"):
            self.reset()
            return Response(status_code=204)
        if what == ("PUT", "/__stub__/faults"):
            try:
                self.add(Fault.from_json(orjson.loads(body)))
            except (ValueError, TypeError) as error:
                return _json({"error": str(error)}, 400)
            return Response(status_code=204)
        return _json({"error": "GET /__stub__/requests, PUT or DELETE /__stub__/faults"}, 404)


async def _show(  # noqa: PLR0913, PLR0917 (an ASGI call and the fault to show in it)
    fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, replay: Receive, send: Send
) -> None:
    match fault.kind:
        case "answer":
            answer = Response(fault.body, fault.status, fault.headers)
            await answer(scope, replay, send)
        case "delay" | "gather":
            await fault.passed()
            await app(scope, replay, send)
        case "drop":
            await app(scope, replay, _swallow)
            await _cut(receive)
        case "refuse":
            await _cut(receive)
        case "drop_body":
            await send(_start(201, {"content-type": "application/json", "content-length": "1000"}))
            await send({"type": "http.response.body", "body": b'{"data":', "more_body": True})
            await _cut(receive)
        case "drip":
            await send(_start(200, {"content-type": "application/json"}))
            while not _transport(receive).is_closing():
                await send({"type": "http.response.body", "body": b" ", "more_body": True})
                await asyncio.sleep(fault.seconds)
        case "gzip_bomb":
            bomb = Response(_zeros(fault.bytes), 200, {"content-encoding": "gzip"})
            await bomb(scope, replay, send)
        case "oversize":
            await _json({"data": "x" * fault.bytes})(scope, replay, send)


def _zeros(size: int) -> bytes:
    """Give `size` zeros in gzip, made without holding them."""
    squeezer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    piece = bytes(1 << 20)
    squeezed = [squeezer.compress(piece) for _ in range(size >> 20)]
    return b"".join([*squeezed, squeezer.flush()])


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _start(status: int, headers: dict[str, str]) -> Message:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}


async def _read(receive: Receive) -> bytes | None:
    """Give the body; None when whoever sends it left in the middle: no vendor acts on a part."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once more to the application, then whatever else comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _swallow(_: Message) -> None:
    """Take the answer of the application and give it to nobody."""


def _transport(receive: Receive) -> asyncio.Transport:
    # Breaking a connection is no part of ASGI: the server's own object is behind `receive`.
    cycle: Any = receive.__self__  # type: ignore[attr-defined]
    transport: asyncio.Transport = cycle.transport
    return transport


async def _cut(receive: Receive) -> None:
    _transport(receive).abort()
    while (await receive())["type"] != "http.disconnect":
        pass
