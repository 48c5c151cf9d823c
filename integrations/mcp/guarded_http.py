"""
The HTTP client under the MCP SDK: guarded, bounded, and never a reason for a connection to break.

Runs in: worker, CLI. Trusts: the egress guard. Refuses: addresses the operator did not allow,
redirects, cookies, proxies, compressed answers, answers over their bound, and streams that a
server opens by itself. May import: integrations, httpx2; not the MCP SDK.

The SDK gives up a whole connection, with all calls in flight, when one request fails. So nothing
is raised from here: a failure is noted on the exchange and answered with a status of ours.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import AsyncIterator, Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpcore2
import httpx2

from integrations.egress import (
    Address,
    AddressRefused,
    CheckedBackend,
    CheckedTransport,
    Resolver,
    is_public,
    is_this_machine,
    system_resolver,
)
from integrations.mcp.exchange import CURRENT, Exchange
from integrations.mcp.servers_file import Server
from integrations.vendor_http import USER_AGENT, NoAnswerKind

CONNECT_S = 10.0
#: An answer to a request that nobody of ours counts, such as the end of a session.
_UNCOUNTED_BYTES = 64 * 1024
_MAX_CONNECTIONS = 64
_KEEPALIVE_S = 4.0
_OURS = 599
_METADATA = tuple(
    ipaddress.ip_network(one) for one in ("169.254.0.0/16", "168.63.129.16/32", "fd00:ec2::254/128")
)


def is_private(address: Address) -> bool:
    """Tell whether an address is public, of a private network or loopback; never a metadata one."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return is_private(address.ipv4_mapped)
    odd = address.is_link_local or address.is_multicast or address.is_unspecified
    odd = odd or (address.is_reserved and not address.is_loopback)
    if odd or any(
        address in network for network in _METADATA if network.version == address.version
    ):
        return False
    return is_public(address) or address.is_private


def rule_for(server: Server, *, allow_local: bool) -> Callable[[Address], bool]:
    """Give the rule for the addresses of a server: as strict as what the operator said of it."""
    if server.private:
        return is_private
    return is_this_machine if server.is_local and allow_local else is_public


def guarded_client(
    server: Server,
    *,
    allow_local: bool,
    resolve: Resolver = system_resolver,
    dial: httpcore2.AsyncNetworkBackend | None = None,
) -> httpx2.AsyncClient:
    """Make the client of one server; its secret headers go out with each request."""
    for name in ("mcp", "httpx2", "httpcore2"):
        # Their lines hold addresses, headers and what servers said: not ours to write into logs.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    backend = CheckedBackend(rule_for(server, allow_local=allow_local), resolve, dial)
    limits = httpx2.Limits(
        max_connections=_MAX_CONNECTIONS,
        max_keepalive_connections=_MAX_CONNECTIONS,
        keepalive_expiry=_KEEPALIVE_S,
    )
    context = httpx2.create_ssl_context(trust_env=False)
    return httpx2.AsyncClient(
        transport=_Quiet(CheckedTransport(backend, limits, context)),
        headers={
            **{name: value.reveal() for name, value in server.headers.items()},
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
        },
        timeout=httpx2.Timeout(server.timeout_s, connect=CONNECT_S),
        trust_env=False,
        follow_redirects=False,
        max_redirects=0,  # the SDK follows those within an origin itself, up to this many
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


class _Quiet(httpx2.AsyncBaseTransport):
    """Answers whatever goes wrong, instead of raising it."""

    def __init__(self, inner: CheckedTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = CURRENT.get() or Exchange(_UNCOUNTED_BYTES)
        if request.method == "GET":
            # A stream on which the server speaks when it likes; the list of tools is looked at
            # in time without it.
            return httpx2.Response(405, request=request)
        request.extensions = {**request.extensions, "trace": exchange.progress.trace}
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError) as error:
            exchange.trouble = _trouble(error, sent=exchange.progress.sent)
            return httpx2.Response(_OURS, request=request)
        exchange.progress.status = response.status_code
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            exchange.trouble = NoAnswerKind.UNREADABLE
            await response.aclose()
            return httpx2.Response(_OURS, request=request)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Bounded(response, exchange),
            extensions=response.extensions,
            request=request,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends early, and says why on the exchange, where it must not go on."""

    def __init__(self, response: httpx2.Response, exchange: Exchange) -> None:
        self._response = response
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._exchange.max_bytes
        try:
            async for piece in self._response.aiter_raw():
                left -= len(piece)
                if left < 0:
                    self._exchange.trouble = NoAnswerKind.TOO_LARGE
                    return
                yield piece
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            self._exchange.trouble = _trouble(error, sent=True)

    async def aclose(self) -> None:
        await self._response.aclose()


def _trouble(error: Exception, *, sent: bool) -> NoAnswerKind:
    if isinstance(error.__cause__, AddressRefused):
        return NoAnswerKind.FORBIDDEN
    if isinstance(error, httpx2.TimeoutException):
        return NoAnswerKind.TIMEOUT
    return NoAnswerKind.DROPPED if sent else NoAnswerKind.UNREACHABLE
