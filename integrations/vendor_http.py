"""
One HTTP exchange with a vendor: bounded in time and bytes, without redirects, cookies or proxies.

It sends once. Whether to send again is for the caller, who is told if a byte had left.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore2
import httpx2

from integrations.egress import (
    AddressRefused,
    CheckedBackend,
    CheckedTransport,
    Resolver,
    is_public,
    is_this_machine,
    system_resolver,
)
from integrations.pack_wire import Timeouts
from integrations.request import VendorRequest

USER_AGENT = "moonsand"
#: What is kept of an error's body; a longer one is cut, since it is only read for its message.
MAX_ERROR_BYTES = 64 * 1024
MAX_CONNECTIONS = 100
#: Seconds an idle connection is kept: shorter than servers do, so that a request hardly ever goes
#: out on a connection that is just being closed at the other end.
_KEEPALIVE_S = 4.0
_INFLATE_STEP = 64 * 1024
#: Of one pool. For each request it looks at all that it has: 200 together would take longer for
#: that than for the requests.
_POOL_CONNECTIONS = 24


class NoAnswerKind(StrEnum):
    """Why there is no answer that can be used."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    DROPPED = "dropped"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    FORBIDDEN = "forbidden"


class NoAnswer(Exception):
    """
    The exchange did not end with a whole answer.

    `sent` tells whether a byte of the request may have left; `status` is there when the head of
    the answer came and only its body could not be used.
    """

    def __init__(self, kind: NoAnswerKind, *, sent: bool, status: int | None = None) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.sent = sent
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `headers` has lower-case names; `body` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Progress:
    """
    How far a call got, as seen from outside while it is under way.

    `sent` and `status` are those of the request under way, which may change something if `write`;
    `doubt` tells that an earlier one was sent and nobody knows what it did; `wrote` that one has
    changed something.
    """

    sent: bool = False
    status: int | None = None
    write: bool = False
    doubt: bool = False
    wrote: bool = False

    @property
    def may_have_written(self) -> bool:
        """Tell whether something may have been changed that no reply has told of."""
        return self.doubt or self.wrote or (self.sent and self.write)

    async def trace(self, event: str, _: Any) -> None:
        """Take an event of the HTTP client. From this one on, bytes may be on the wire."""
        if event.endswith("send_request_headers.started"):
            self.sent = True


@dataclass(slots=True)
class _Pool:
    """Some of the connections, and how many exchanges use or wait for them."""

    client: httpx2.AsyncClient
    busy: int = 0


@dataclass(slots=True)
class VendorHttp:
    """
    The pools of connections to all vendors, one a process and event loop.

    `max_connections` bounds how many are open at once; further calls wait within their time.
    `allow_local` lets accounts of the operator lead to this machine itself. Connections to it are
    kept apart from all others, so that no request finds one that was not made for its like.
    """

    max_connections: int = MAX_CONNECTIONS
    allow_local: bool = True
    resolve: Resolver = system_resolver
    dial: httpcore2.AsyncNetworkBackend | None = None
    _pools: dict[bool, list[_Pool]] = field(default_factory=dict, repr=False)
    _tls: ssl.SSLContext | None = field(default=None, repr=False)

    async def exchange(  # noqa: PLR0913 (one exchange, all named)
        self,
        request: VendorRequest,
        timeouts: Timeouts,
        *,
        within_s: float,
        max_bytes: int,
        accepts: Callable[[int], bool],
        progress: Progress,
    ) -> Answer:
        """
        Send a request once and give its answer.

        Args:
            request: what to send.
            timeouts: seconds to connect and between two pieces of the reply.
            within_s: seconds the whole exchange may take.
            max_bytes: longest decompressed body of a success; of an error less is kept.
            accepts: tells whether a status is success.
            progress: filled in while the exchange is under way.

        Raises:
            NoAnswer: there is no whole answer.
        """
        try:
            async with asyncio.timeout(within_s):
                return await self._exchange(request, timeouts, max_bytes, accepts, progress)
        except (TimeoutError, httpx2.TimeoutException):
            kind = NoAnswerKind.TIMEOUT
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError) as error:
            kind = NoAnswerKind.DROPPED if progress.sent else NoAnswerKind.UNREACHABLE
            if isinstance(error.__cause__, AddressRefused):
                kind = NoAnswerKind.FORBIDDEN
        # Raised outside the handler: the client's own exceptions hold the request and its headers.
        raise NoAnswer(kind, sent=progress.sent, status=progress.status)

    async def close(self) -> None:
        """Close every connection."""
        pools, self._pools = self._pools, {}
        for pool in (one for some in pools.values() for one in some):
            await pool.client.aclose()

    async def _exchange(
        self,
        request: VendorRequest,
        timeouts: Timeouts,
        max_bytes: int,
        accepts: Callable[[int], bool],
        progress: Progress,
    ) -> Answer:
        outgoing = httpx2.Request(
            request.method,
            request.url,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": USER_AGENT,
                **request.headers,
                **{name: one.reveal() for name, one in request.secret_headers.items()},
            },
            content=request.body,
            extensions={
                "timeout": httpx2.Timeout(
                    timeouts.read_s, connect=timeouts.connect_s, pool=timeouts.connect_s
                ).as_dict(),
                "trace": progress.trace,
            },
        )
        pool = self._pool(local=request.local and self.allow_local)
        pool.busy += 1
        try:
            response = await pool.client.send(outgoing, stream=True, follow_redirects=False)
            try:
                progress.status = response.status_code
                success = accepts(response.status_code)
                most = max_bytes if success else MAX_ERROR_BYTES
                body = await _body(response, most, progress, cut=not success)
            finally:
                await response.aclose()
        finally:
            pool.busy -= 1
        return Answer(response.status_code, dict(response.headers), body)

    def _pool(self, *, local: bool) -> _Pool:
        """Give the first pool with room, so that few calls at once find their connections again."""
        pools = self._pools.setdefault(local, [])
        for pool in pools:
            if pool.busy < _POOL_CONNECTIONS:
                return pool
        if len(pools) * _POOL_CONNECTIONS < self.max_connections:
            most = min(_POOL_CONNECTIONS, self.max_connections - len(pools) * _POOL_CONNECTIONS)
            pools.append(_Pool(self._client(most, local=local)))
            return pools[-1]
        return min(pools, key=lambda one: one.busy)

    def _client(self, connections: int, *, local: bool) -> httpx2.AsyncClient:
        for name in ("httpx2", "httpcore2"):
            # Their lines hold URLs and headers, which are not ours to write into logs.
            logging.getLogger(name).setLevel(logging.WARNING)
        limits = httpx2.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_KEEPALIVE_S,
        )
        return httpx2.AsyncClient(
            transport=CheckedTransport(
                CheckedBackend(is_this_machine if local else is_public, self.resolve, self.dial),
                limits,
                self._ssl_context(),
            ),
            trust_env=False,
            follow_redirects=False,
            # A pool serves all tenants: a cookie of one must not go out with another's call.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    def _ssl_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx2.create_ssl_context(trust_env=False)
        return self._tls


async def _body(
    response: httpx2.Response, max_bytes: int, progress: Progress, *, cut: bool
) -> bytes:
    """Read a body, never holding more than `max_bytes` and one piece of it; `cut` a longer one."""
    pieces = bytearray()
    async for piece in _decompressed(response, progress):
        pieces += piece
        if len(pieces) > max_bytes:
            if cut:
                break
            raise NoAnswer(NoAnswerKind.TOO_LARGE, sent=True, status=progress.status)
    return bytes(pieces[:max_bytes])


async def _decompressed(response: httpx2.Response, progress: Progress) -> AsyncIterator[bytes]:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"", "identity"}:
        async for piece in response.aiter_raw():
            yield piece
        return
    if encoding not in {"gzip", "x-gzip"}:
        raise NoAnswer(NoAnswerKind.UNREADABLE, sent=True, status=progress.status)
    # The client's own decoder inflates a whole piece at once, a thousand times its size if the
    # vendor likes; this one gives a little at a time, so that the cap is met on the way.
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    async for piece in response.aiter_raw():
        waiting = piece
        while waiting:
            try:
                inflated = inflater.decompress(waiting, _INFLATE_STEP)
            except zlib.error:
                raise NoAnswer(NoAnswerKind.UNREADABLE, sent=True, status=progress.status) from None
            yield inflated
            waiting = inflater.unconsumed_tail
    if not inflater.eof:
        raise NoAnswer(NoAnswerKind.UNREADABLE, sent=True, status=progress.status)
