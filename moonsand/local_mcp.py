"""The MCP servers of a command that runs here: their file as an option, and their connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from integrations.mcp.run_servers import McpServers

McpFile = Annotated[
    Path | None,
    typer.Option(
        "--mcp",
        envvar="MOONSAND_MCP_SERVERS",
        help="TOML file of MCP servers (`moonsand mcp trust` lets their tools be called).",
    ),
]


@asynccontextmanager
async def servers_of(path: Path | None) -> AsyncIterator[McpServers | None]:
    """
    Give the servers of a file, None without one; their connections end with the block.

    Raises:
        Invalid: the file, or that of the trusted tools, cannot be used.
    """
    if path is None:
        yield None
        return
    from integrations.mcp.pool import McpPool  # noqa: PLC0415 (heavy)
    from integrations.mcp.run_servers import McpServers  # noqa: PLC0415
    from integrations.mcp.trusted_tools import TrustedTools  # noqa: PLC0415

    pool = McpPool()
    try:
        yield McpServers(TrustedTools.load(path), pool)
    finally:
        await pool.close()
