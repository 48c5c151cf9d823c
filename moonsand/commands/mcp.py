"""`moonsand mcp`: which MCP servers there are, what their tools are, and which are trusted."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.clock import now_ms
from moonsand.commands.lua import mcp_lua
from moonsand.exits import Exit, UsageFault
from moonsand.local_mcp import McpFile
from moonsand.script_options import AsJson
from moonsand.terminal import pretty, write_error, write_output

if TYPE_CHECKING:
    from integrations.mcp.servers_file import Server
    from integrations.mcp.tool_list import ToolList
    from integrations.mcp.trust import Pin

app = typer.Typer(no_args_is_help=True, help="Show, trust and call the tools of MCP servers.")
app.command("lua")(mcp_lua)
ServerName = Annotated[str, typer.Argument(metavar="SERVER", help="Name of a server.")]
Tenant = Annotated[
    str | None, typer.Option(help="Whose servers (default: those at the top of the file).")
]


@app.command("list")
def list_servers(mcp: McpFile = None, tenant: Tenant = None, as_json: AsJson = False) -> int:
    """List the configured servers and whether their tools are trusted; asks none of them."""
    path = _path(mcp)
    pins = _pins(path, tenant)
    rows = [
        {
            "name": name,
            "type": server.type,
            "enabled": server.enabled,
            "place": server.url or server.command,
            "trusted": name in pins and pins[name].covers(server),
            "tools": len(pins[name].tools.tools) if name in pins else 0,
            "digest": pins[name].tools.digest if name in pins else None,
        }
        for name, server in _servers(path, tenant).items()
    ]
    if as_json:
        write_output(f"{json.dumps(rows)}\n")
        return Exit.SUCCEEDED
    for row in rows:
        state = f"{row['tools']} tools trusted" if row["trusted"] else "not trusted"
        state = state if row["enabled"] else "not enabled"
        write_output(f"{row['name']} ({row['type']}): {row['place']}: {state}\n")
    return Exit.SUCCEEDED


@app.command()
def tools(
    server: ServerName, mcp: McpFile = None, tenant: Tenant = None, as_json: AsJson = False
) -> int:
    """Show the tools a server has now, and what differs from those that are trusted."""
    path = _path(mcp)
    found = _server(path, tenant, server)
    seen = _ask(found, tenant)
    if as_json:
        document = {"server": server, "digest": seen.digest, "tools": seen.to_json()}
        write_output(f"{json.dumps(document)}\n")
        return Exit.SUCCEEDED
    _show_tools(seen)
    write_output(
        f"digest: {seen.digest}\n{_standing(found, _pins(path, tenant).get(server), seen)}\n"
    )
    return Exit.SUCCEEDED


@app.command()
def trust(
    server: ServerName,
    digest: Annotated[
        str | None,
        typer.Option(
            help="Trust only if the list has this digest, as `moonsand mcp tools` showed."
        ),
    ] = None,
    mcp: McpFile = None,
    tenant: Tenant = None,
) -> int:
    """Trust the tools a server has now: scripts may call them until the list changes."""
    from integrations.mcp.trust import Pin, TrustFile, tenant_key

    path = _path(mcp)
    found = _server(path, tenant, server)
    seen = _ask(found, tenant)
    if digest is not None and digest != seen.digest:
        raise UsageFault(f"the tools of {server} have the digest {seen.digest}; nothing is trusted")
    before = _pins(path, tenant).get(server)
    _show_tools(seen)
    write_output(f"{_standing(found, before, seen)}\n")
    file = TrustFile(path)
    pins = file.read()
    pins[tenant_key(tenant), server] = Pin(seen, found.endpoint, now_ms())
    file.write(pins)
    write_output(f"trusted: {server}, {len(seen.tools)} tools, digest {seen.digest}\n")
    return Exit.SUCCEEDED


@app.command()
def distrust(server: ServerName, mcp: McpFile = None, tenant: Tenant = None) -> int:
    """Let no tool of a server be called any more; 1 if none was."""
    from integrations.mcp.trust import TrustFile, tenant_key

    path = _path(mcp)
    file = TrustFile(path)
    pins = file.read()
    if pins.pop((tenant_key(tenant), server), None) is None:
        write_error(f"moonsand: no tools of {server} are trusted")
        return Exit.FAILED
    file.write(pins)
    write_output(f"not trusted any more: {server}\n")
    return Exit.SUCCEEDED


@app.command()
def call(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="As `files.read_file`.")],
    arguments: Annotated[
        str | None, typer.Argument(help="A JSON object; `-` reads it from stdin.")
    ] = None,
    mcp: McpFile = None,
    tenant: Tenant = None,
) -> int:
    """Call one trusted tool and print its value as JSON; 1 if it failed."""
    from integrations.failure import CallFailed
    from integrations.mcp.direct_tool_call import call_tool

    given = _arguments(arguments)
    try:
        value = asyncio.run(call_tool(_path(mcp), tenant, tool, given))
    except CallFailed as failure:
        write_error(f"moonsand: {failure.message}")
        return Exit.FAILED
    write_output(f"{pretty(value)}\n")
    return Exit.SUCCEEDED


def _path(given: Path | None) -> Path:
    if given is None:
        raise UsageFault("no file of MCP servers: give --mcp FILE or set MOONSAND_MCP_SERVERS")
    return given


def _servers(path: Path, tenant: str | None) -> dict[str, Server]:
    from integrations.mcp.servers_file import ServersFile

    return dict(ServersFile.load(path).for_tenant(tenant))


def _server(path: Path, tenant: str | None, name: str) -> Server:
    from integrations.failure import did_you_mean

    servers = _servers(path, tenant)
    if name not in servers:
        raise UsageFault(f"there is no MCP server {name}.{did_you_mean(name, servers)}")
    return servers[name]


def _pins(path: Path, tenant: str | None) -> dict[str, Pin]:
    from integrations.mcp.trust import TrustFile, tenant_key

    key = tenant_key(tenant)
    return {name: pin for (owner, name), pin in TrustFile(path).read().items() if owner == key}


def _ask(server: Server, tenant: str | None) -> ToolList:
    from integrations.mcp.direct_tool_call import list_tools

    return asyncio.run(list_tools(server, tenant))


def _standing(server: Server, pin: Pin | None, seen: ToolList) -> str:
    if pin is None:
        return "not trusted before"
    if not pin.covers(server):
        return "trusted before in another place: its configuration has changed since"
    return f"since it was trusted: {pin.tools.changes_to(seen) or 'nothing has changed'}"


def _show_tools(seen: ToolList) -> None:
    from integrations.failure import printable

    for tool in seen.tools.values():
        write_output(f"{tool.name} ({tool.effect_class}): {printable(tool.description, 300)}\n")


def _arguments(text: str | None) -> dict[str, Any]:
    if text == "-":
        text = sys.stdin.read()
    try:
        given = json.loads(text) if text and text.strip() else {}
    except ValueError as error:
        raise UsageFault(f"the arguments are not JSON: {error}") from None
    if not isinstance(given, dict):
        raise UsageFault("the arguments must be a JSON object")
    return given
