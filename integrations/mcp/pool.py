"""
The open connections of one worker: one for each tenant and server, made when first needed.

Runs in: worker, CLI. Trusts: nothing a server says. Refuses: to start what just failed again and
again. May import: integrations; the MCP SDK only once a server is asked, since that takes long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpcore2

from integrations.egress import Resolver, system_resolver
from integrations.mcp.servers_file import Server

if TYPE_CHECKING:
    from integrations.mcp.connection import Connection

MAX_OPEN = 64
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
#: Seconds a connection must have lived for its end to be no failure to start.
_LIVED_S = 5.0


class TooSoon(Exception):
    """The server failed a moment ago; `wait_s` is how long it is left alone."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"left alone for {wait_s:.1f} s")
        self.wait_s = wait_s


@dataclass(slots=True)
class _Place:
    """Where the connection of one tenant to one server is kept, and how its start went so far."""

    connection: Connection | None = None
    pause_s: float = 0.0
    not_before_s: float = 0.0


@dataclass(slots=True)
class McpPool:
    """
    Connections by tenant and server, in one event loop; a tenant never uses another's.

    `allow_local` lets servers be on this machine itself; `show_errors` lets processes write to our
    standard error.
    """

    allow_local: bool = True
    show_errors: bool = False
    resolve: Resolver = system_resolver
    dial: httpcore2.AsyncNetworkBackend | None = None
    _places: dict[tuple[str, str], _Place] = field(default_factory=dict)
    _retired: set[Connection] = field(default_factory=set)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def connection(self, tenant: str, server: Server) -> AsyncIterator[Connection]:
        """
        Give a connection that can be used, a new one where there is none.

        Raises:
            NotConnected: none could be made.
            TooSoon: none could be made a moment ago, and none is tried yet.
        """
        place = self._places.setdefault((tenant, server.name), _Place())
        connection = place.connection
        if connection is None or not connection.usable:
            connection = self._open(place, server)
        connection.in_flight += 1
        connection.used_s = time.monotonic()
        try:
            await connection.opened()
            yield connection
        finally:
            connection.in_flight -= 1
            if not connection.usable:
                self._retire(connection)

    def drop(self, connection: Connection) -> None:
        """Use a connection no more; it is closed when the calls in flight have ended."""
        connection.usable = False
        for place in self._places.values():
            if place.connection is connection:
                place.connection = None  # it was given up, which is no failure to start
        self._retire(connection)

    async def close(self) -> None:
        """Close every connection and end every process."""
        open_ = [one.connection for one in self._places.values() if one.connection]
        self._places = {}
        retired, self._retired = self._retired, set()
        await asyncio.gather(*(one.close() for one in {*open_, *retired}))
        await asyncio.gather(*self._closing)

    def _open(self, place: _Place, server: Server) -> Connection:
        from integrations.mcp.connection import Connection  # noqa: PLC0415 (half a second)

        now_s = time.monotonic()
        if place.connection is not None:
            # A short life is a failure; the longer the row of them, the longer the pause.
            short = place.connection.lived_s < _LIVED_S
            place.pause_s = _longer(place.pause_s) if short else 0.0
            place.not_before_s = place.connection.began_s + place.connection.lived_s + place.pause_s
            self._retire(place.connection)
            place.connection = None
        if now_s < place.not_before_s:
            raise TooSoon(place.not_before_s - now_s)
        self._make_room()
        place.connection = Connection(
            server,
            allow_local=self.allow_local,
            show_errors=self.show_errors,
            resolve=self.resolve,
            dial=self.dial,
        )
        return place.connection

    def _make_room(self) -> None:
        open_ = [one.connection for one in self._places.values() if one.connection]
        idle = [one for one in open_ if not one.in_flight]
        if len(open_) >= MAX_OPEN and idle:
            self.drop(min(idle, key=lambda one: one.used_s))

    def _retire(self, connection: Connection) -> None:
        if connection.in_flight:
            self._retired.add(connection)
            return
        self._retired.discard(connection)
        task = asyncio.create_task(connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _longer(pause_s: float) -> float:
    return min(max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)


def preload() -> None:
    """Import what a connection needs, before anybody waits for it."""
    import integrations.mcp.connection  # noqa: F401, PLC0415 (that is the point)
