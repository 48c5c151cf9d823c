"""
Where connections may go: only to public addresses, and exactly to the address that was checked.

Runs in: worker. Trusts: the kernel's routes. Refuses: loopback, private, link-local, shared,
multicast and reserved addresses, those that carry one of them inside, and clouds' metadata
services; a name with one such address among its own is refused whole. May import: stdlib, anyio,
httpx2, httpcore2.

A name is resolved once for each connection and the connection goes to what was checked, so a name
server that changes its answer in between changes nothing. TLS still asks for the name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio
import httpcore2
import httpx2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: Gives the addresses of a name, as text.
Resolver = Callable[[str, int], Awaitable[list[str]]]
#: Most addresses of one name that are tried.
MAX_TRIED = 4
_NOT_PUBLIC_4 = tuple(
    ipaddress.ip_network(one)
    # Not covered by `is_global`: protocol assignments, the old 6to4 relays, Azure's host service.
    for one in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")
)
_PUBLIC_6 = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    ipaddress.ip_network(one)
    for one in ("2001::/23", "2001:db8::/32", "2002::/16", "3ffe::/16", "3fff::/20")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

#: A name server that is silent holds a thread for half a minute, whatever its caller's time is.
#: Names are tenants' to choose, and a loop has a handful of threads for everything else.
_LOOKUPS = ThreadPoolExecutor(128, thread_name_prefix="lookup")


class AddressRefused(httpcore2.ConnectError):
    """No connection may go there. Nothing was sent."""


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to somebody on the internet, and only to them."""
    if isinstance(address, ipaddress.IPv4Address):
        odd = address.is_multicast or any(address in network for network in _NOT_PUBLIC_4)
        return address.is_global and not odd
    inside = address.ipv4_mapped
    if inside is None and address in _NAT64:
        inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inside is not None:
        return is_public(inside)
    odd = any(address in network for network in _NOT_PUBLIC_6)
    return address in _PUBLIC_6 and address.is_global and not odd


def is_this_machine(address: Address) -> bool:
    """Tell whether an address is loopback."""
    return address.is_loopback


async def system_resolver(host: str, port: int) -> list[str]:
    """Ask the system, in its order of preference."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, ask)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """
    Connects to addresses for which `allowed` is true, and to nothing else.

    `dial` makes the connection to an address that was checked.
    """

    def __init__(
        self,
        allowed: Callable[[Address], bool],
        resolve: Resolver = system_resolver,
        dial: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._dial = dial or httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (the signature of the HTTP client)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """
        Resolve, check, and connect to what was checked.

        Raises:
            AddressRefused: an address of the host is not allowed.
        """
        try:
            with anyio.fail_after(timeout):
                addresses = await self._checked(host, port)
                return await self._connect(addresses, port, local_address, socket_options)
        except TimeoutError:
            raise httpcore2.ConnectTimeout from None
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from None

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: no vendor is behind a file."""
        raise AddressRefused(f"no connection may go to {path}")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)

    async def _checked(self, host: str, port: int) -> list[str]:
        texts = await self._resolve(host, port)
        try:
            good = [self._allowed(ipaddress.ip_address(one)) for one in texts]
        except ValueError:
            raise AddressRefused("an address of the host cannot be read") from None
        if not good or not all(good):
            raise AddressRefused("an address of the host is not allowed")
        return texts[:MAX_TRIED]

    async def _connect(
        self,
        addresses: list[str],
        port: int,
        local_address: str | None,
        options: Iterable[Any] | None,
    ) -> httpcore2.AsyncNetworkStream:
        last: Exception = httpcore2.ConnectError("no address")
        for address in addresses:
            try:
                return await self._dial.connect_tcp(
                    address, port, local_address=local_address, socket_options=options
                )
            except (httpcore2.ConnectError, OSError) as error:
                last = error
        raise last


class CheckedTransport(httpx2.AsyncHTTPTransport):
    """The HTTP client's own transport, whose connections are made by a `CheckedBackend`."""

    def __init__(
        self, backend: CheckedBackend, limits: httpx2.Limits, context: ssl.SSLContext
    ) -> None:
        super().__init__(verify=context, trust_env=False, limits=limits)
        # The transport takes no backend of ours; its pool does.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=backend,
        )
