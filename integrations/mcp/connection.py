"""
One live connection to an MCP server, kept open by a task of its own.

Runs in: worker, CLI. Trusts: nothing a server says. Refuses: requests of the server to us (to
sample, to ask a person, to name directories), answers that ask for such, lists without an end.
May import: integrations, the MCP SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpcore2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.session import ClientSession, IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, TypeAdapter

from integrations.egress import Resolver, system_resolver
from integrations.mcp.exchange import CURRENT, Exchange
from integrations.mcp.guarded_http import guarded_client
from integrations.mcp.servers_file import Server
from integrations.mcp.stdio import stdio_streams
from integrations.mcp.tool_list import MAX_LIST_BYTES, MAX_TOOLS, ListRefused, ToolList

_CLOSE_S = 5.0
_MAX_PAGES = 100
#: Longest answer to a request of ours that is no call: a list, and what comes before it.
LIST_BYTES = 2 * MAX_LIST_BYTES
_MAX_EVENT_BYTES = 64 * 1024 * 1024

Result = TypeVar("Result", bound=BaseModel)
_CALL = TypeAdapter[types.CallToolResult | types.InputRequiredResult](
    types.CallToolResult | types.InputRequiredResult
)
_READ = TypeAdapter[types.ReadResourceResult | types.InputRequiredResult](
    types.ReadResourceResult | types.InputRequiredResult
)
_PROMPT = TypeAdapter[types.GetPromptResult | types.InputRequiredResult](
    types.GetPromptResult | types.InputRequiredResult
)


class NotConnected(Exception):
    """No connection could be made. `exchange` has what the wire saw of it."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__("no connection")
        self.exchange = exchange


class AsksBack(Exception):
    """The server wants something of us before it answers, and does not get it."""


class Connection:
    """
    Made by `open`; ended by `close`, or by the server.

    `usable` is False once anything went wrong with it; calls in flight may still end. `in_flight`
    and `used_s` (monotonic) are for whoever decides what to close; `began_s` is monotonic too.
    """

    def __init__(
        self,
        server: Server,
        *,
        allow_local: bool,
        show_errors: bool = False,
        resolve: Resolver = system_resolver,
        dial: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self.server = server
        self.usable = True
        self.in_flight = 0
        self.began_s = self.used_s = time.monotonic()
        self._ended_s: float | None = None
        self._allow_local = allow_local
        self._show_errors = show_errors
        self._resolve = resolve
        self._dial = dial
        self._closing = asyncio.Event()
        self._listed: ToolList | None = None
        self._listed_s = 0.0
        self._changed = True
        self._listing = asyncio.Lock()
        self._ready: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live())

    @property
    def lived_s(self) -> float:
        """Give the seconds it has lived, or did."""
        return (self._ended_s or time.monotonic()) - self.began_s

    async def opened(self) -> None:
        """
        Wait until it can be used.

        Raises:
            NotConnected: it can't.
        """
        await asyncio.shield(self._ready)

    async def close(self) -> None:
        """End it, and with it every call in flight."""
        self.usable = False
        self._closing.set()
        done, _ = await asyncio.wait({self._task}, timeout=_CLOSE_S)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task})

    # --- what can be asked --------------------------------------------------------------------

    async def tools(self) -> ToolList:
        """
        Give the server's list of tools, looked at not longer ago than its configuration says.

        Raises:
            ListRefused: it is no list that can be used.
            MCPError, ValidationError: the server refuses, or answers nonsense.
        """
        async with self._listing:
            fresh = time.monotonic() - self._listed_s <= self.server.check_s
            if self._listed is None or self._changed or not fresh:
                # Before it is asked: a change while it answers is one it may not tell of.
                self._changed = False
                began_s = time.monotonic()
                try:
                    self._listed = await self._list_tools()
                except BaseException:
                    self._listed, self._changed = None, True
                    raise
                self._listed_s = began_s
            return self._listed

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        """
        Call a tool.

        Raises:
            AsksBack: it wants something of us first.
            MCPError, ValidationError: the server refuses, or answers nonsense.
        """
        params = types.CallToolRequestParams(name=name, arguments=arguments)
        # Not `call_tool` of the session: that one checks the answer by the server's own schema,
        # which may take as long as the server likes.
        request = types.CallToolRequest(params=params)
        return _answered(await self._session.send_request(request, _CALL))

    async def read_resource(self, uri: str) -> types.ReadResourceResult:
        """Read a resource; raises as `call_tool` does."""
        request = types.ReadResourceRequest(params=types.ReadResourceRequestParams(uri=uri))
        return _answered(await self._session.send_request(request, _READ))

    async def get_prompt(self, name: str, arguments: dict[str, str]) -> types.GetPromptResult:
        """Get a prompt; raises as `call_tool` does."""
        params = types.GetPromptRequestParams(name=name, arguments=arguments)
        request = types.GetPromptRequest(params=params)
        return _answered(await self._session.send_request(request, _PROMPT))

    async def resources(self) -> list[dict[str, Any]]:
        """List the resources; raises as `tools` does."""

        async def page(params: types.PaginatedRequestParams | None) -> tuple[Any, str | None]:
            found = await self._session.list_resources(params=params)
            return found.resources, found.next_cursor

        return await _pages(page)

    async def prompts(self) -> list[dict[str, Any]]:
        """List the prompts; raises as `tools` does."""

        async def page(params: types.PaginatedRequestParams | None) -> tuple[Any, str | None]:
            found = await self._session.list_prompts(params=params)
            return found.prompts, found.next_cursor

        return await _pages(page)

    # --- inside -------------------------------------------------------------------------------

    @property
    def _session(self) -> ClientSession:
        return self._ready.result()

    async def _list_tools(self) -> ToolList:
        async def page(params: types.PaginatedRequestParams | None) -> tuple[Any, str | None]:
            found = await self._session.list_tools(params=params)
            return found.tools, found.next_cursor

        return ToolList.of(await _pages(page))

    async def _live(self) -> None:
        exchange = Exchange(LIST_BYTES)
        CURRENT.set(exchange)
        try:
            async with self._client() as client:
                self._ready.set_result(client.session)
                await self._closing.wait()
        except Exception:  # noqa: BLE001 (a task group's, with whatever broke in it)
            # Its words hold what the server said; callers are told what the wire saw.
            logging.getLogger(__name__).debug("the connection to %s ended", self.server.name)
        finally:
            self.usable = False
            self._ended_s = time.monotonic()
            if not self._ready.done():
                self._ready.set_exception(NotConnected(exchange))
                self._ready.exception()  # nobody may be waiting

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
        async with contextlib.AsyncExitStack() as stack:
            if self.server.url is None:
                transport: Any = stdio_streams(
                    self.server, show_errors=self._show_errors, ended=self._end
                )
            else:
                http = guarded_client(
                    self.server,
                    allow_local=self._allow_local,
                    resolve=self._resolve,
                    dial=self._dial,
                )
                await stack.enter_async_context(http)
                transport = streamable_http_client(
                    self.server.url, http_client=http, max_sse_event_size=_MAX_EVENT_BYTES
                )
            client = Client(
                transport,
                cache=None,
                message_handler=self._heard,
                client_info=types.Implementation(name="moonsand", version="1"),
                read_timeout_seconds=self.server.timeout_s,
            )
            yield await stack.enter_async_context(client)

    async def _heard(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._changed = True

    def _end(self) -> None:
        self.usable = False
        self._closing.set()


def _answered(result: Result | types.InputRequiredResult) -> Result:
    if isinstance(result, types.InputRequiredResult):
        raise AsksBack
    return result


_Page = Callable[
    [types.PaginatedRequestParams | None], Awaitable[tuple[Sequence[BaseModel], str | None]]
]


async def _pages(page: _Page) -> list[dict[str, Any]]:
    """Give every entry of a list that comes in pages, as JSON values."""
    found: list[dict[str, Any]] = []
    params = None
    for _ in range(_MAX_PAGES):
        entries, cursor = await page(params)
        found += [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in entries]
        if len(found) > MAX_TOOLS:
            raise ListRefused(f"it lists more than {MAX_TOOLS} entries")
        if not cursor:
            return found
        params = types.PaginatedRequestParams(cursor=cursor)
    raise ListRefused(f"its list has more than {_MAX_PAGES} pages")


def refusal_of(error: Exception) -> tuple[int, str] | None:
    """Give code and words of a JSON-RPC error; None for any other exception."""
    return (error.code, error.message) if isinstance(error, MCPError) else None
