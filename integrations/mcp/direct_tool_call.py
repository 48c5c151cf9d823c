"""Ask an MCP server without a script: what `moonsand mcp` does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson

from core.errors import Unavailable
from integrations.failure import CallFailed, printable
from integrations.mcp.exchange import CURRENT, Exchange
from integrations.mcp.pool import McpPool
from integrations.mcp.run_servers import McpServers, RunServers
from integrations.mcp.servers_file import Server
from integrations.mcp.tool_list import MAX_LIST_BYTES, ListRefused, ToolList
from integrations.mcp.trust import tenant_key
from integrations.mcp.trusted_tools import TrustedTools
from integrations.redaction import scrub_text
from integrations.sender import Bounds
from integrations.vendor_http import NoAnswerKind
from sandbox.calls import Call
from sandbox.limits import Limits


async def list_tools(server: Server, tenant: str | None) -> ToolList:
    """
    Ask a server for its tools.

    Raises:
        Unavailable: it cannot be reached, or has no list that can be used.
    """
    from integrations.mcp.connection import NotConnected  # noqa: PLC0415 (half a second)

    exchange = Exchange(2 * MAX_LIST_BYTES)
    CURRENT.set(exchange)
    pool = McpPool(show_errors=True)
    try:
        async with asyncio.timeout(server.timeout_s):
            async with pool.connection(tenant_key(tenant), server) as connection:
                return await connection.tools()
    except TimeoutError:
        why = "it did not answer in time"
    except NotConnected as missing:
        why = _words(missing.exchange)
    except ListRefused as refused:
        why = str(refused)
    except Exception as error:  # noqa: BLE001 (the SDK raises what the server's nonsense did)
        why = printable(scrub_text(str(error), server.secrets())) or type(error).__name__
    finally:
        await pool.close()
    raise Unavailable(f"the tools of the MCP server {server.name} cannot be had: {why}")


async def call_tool(path: Path, tenant: str | None, name: str, arguments: dict[str, Any]) -> Any:
    """
    Call one trusted tool by its name, `files.read_file`; give its value.

    Raises:
        CallFailed: the call failed.
        Invalid: one of the files is wrong.
    """
    pool = McpPool(show_errors=True)
    limits = Limits()
    try:
        run = RunServers(McpServers(TrustedTools.load(path), pool), tenant, lambda _: True)
        text = orjson.dumps([name, arguments])
        target = run.find(Call(1, "mcp", "call", None, text), limits.depth)
        if target is None:
            raise CallFailed("unknown_function", "there is no such tool")
        work, _, _ = run.prepare(target, limits.depth)
        bounds = Bounds(limits.wall_ms / 1000, limits.reply_bytes, limits.depth)
        return orjson.loads((await work.carry_out(bounds)).body)
    finally:
        await pool.close()


def _words(exchange: Exchange) -> str:
    if exchange.trouble is NoAnswerKind.FORBIDDEN:
        return "its address is in a network where no request may go (`private` allows it)"
    if exchange.trouble is not None:
        return f"no connection ({exchange.trouble})"
    status = exchange.progress.status
    return f"it answered with the status {status}" if status else "it does not start or speak MCP"
