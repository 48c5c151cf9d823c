"""MCP servers of tests, on loopback and as processes, and the files that lead to them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from integrations.mcp.pool import McpPool
from integrations.mcp.run_servers import McpServers
from integrations.mcp.servers_file import ServersFile
from integrations.mcp.trust import Pin, TrustFile, tenant_key
from integrations.mcp.trusted_tools import TrustedTools
from tests.deadline import Deadline

NOTES = Path(__file__).with_name("mcp_notes.py")


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an application on loopback; give its address."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    Deadline().until(lambda: server.started, "the server to start")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def write_servers(directory: Path, text: str) -> Path:
    """Write a file of servers."""
    path = directory / "mcp.toml"
    path.write_text(text)
    return path


def stdio_section(name: str = "notes", more: str = "") -> str:
    """Give the section of a server that is a process."""
    return f'[{name}]\ncommand = "{sys.executable}"\nargs = ["{NOTES}"]\n{more}'


async def trust_all(path: Path, tenant: str | None = None) -> None:
    """Trust the tools of every server of a tenant as they are now."""
    pool = McpPool()
    pins = TrustFile(path).read()
    for server in ServersFile.load(path).for_tenant(tenant).values():
        async with pool.connection(tenant_key(tenant), server) as connection:
            tools = await connection.tools()
        pins[tenant_key(tenant), server.name] = Pin(tools, server.endpoint, 1)
    TrustFile(path).write(pins)
    await pool.close()


def mcp_servers(path: Path) -> McpServers:
    """Give what a broker takes."""
    return McpServers(TrustedTools.load(path), McpPool())


def mcp_processes(mark: str) -> list[int]:
    """Give the processes with a text among their arguments."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (one / "cmdline").read_bytes():
                found.append(int(one.name))
        except OSError:
            continue
    return found
