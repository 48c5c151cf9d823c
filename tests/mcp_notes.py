"""
A real MCP server, built with the SDK: notes that are read, written and lost.

Run as a program it speaks over its standard input and output.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

READS = ToolAnnotations(read_only_hint=True)


def notes_server(notes: dict[str, str] | None = None) -> MCPServer:
    """Make a server over these notes, which its tools change."""
    kept = {"first": "hello"} if notes is None else notes
    server = MCPServer("notes")
    _add_readers(server, kept)
    _add_writers(server, kept)

    @server.resource("notes://first")
    def first() -> str:
        """The first note."""
        return kept["first"]

    @server.prompt()
    def greet(name: str) -> str:
        """Greet somebody."""
        return f"Please greet {name}."

    return server


def _add_readers(server: MCPServer, kept: dict[str, str]) -> None:
    @server.tool(annotations=READS)
    def read_note(name: str) -> str:
        """Read a note."""
        if name not in kept:
            raise ToolError(f"there is no note {name}")
        return kept[name]

    @server.tool(annotations=READS)
    def count_words(text: str, least: int = 1) -> dict[str, Any]:
        """Count the words of a text that have at least so many letters."""
        return {"words": len([one for one in text.split() if len(one) >= least])}

    @server.tool(annotations=READS, structured_output=False)
    def as_json(name: str) -> str:
        """Give a note as JSON text."""
        return '{"name": "' + name + '", "tags": []}'

    @server.tool(annotations=READS)
    def variables() -> list[str]:
        """Name the variables this process has."""
        return sorted(os.environ)


def _add_writers(server: MCPServer, kept: dict[str, str]) -> None:
    @server.tool(name="write-note")
    def write_note(name: str, text: str) -> str:
        """Write a note."""
        kept[name] = text
        return f"wrote {name}"

    @server.tool()
    async def vanish(name: str) -> str:
        """Write a note and end without a word."""
        kept[name] = "written"
        os._exit(9)

    @server.tool()
    async def wait_for_ever() -> str:
        """Never answer."""
        await anyio.sleep_forever()
        return "never"

    @server.tool(annotations=READS)
    async def change_tools(ctx: Context) -> str:
        """Add a tool, and say that the list has changed."""
        server.add_tool(_extra, name="extra")
        await ctx.session.send_tool_list_changed()
        return "changed"


def _extra() -> str:
    """Do something else."""
    return "extra"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    notes_server().run("stdio")
