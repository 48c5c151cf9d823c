"""
The servers of one tenant with the tools that are trusted, ready to be named by scripts.

Runs in: worker, CLI. Trusts: the operator's two files. Refuses: to make a function of a tool whose
server is not trusted, is disabled or stands elsewhere than when it was trusted.
May import: integrations, core; never the MCP SDK, which is only needed to ask a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from core.errors import Invalid
from integrations.failure import printable
from integrations.function import Function
from integrations.mcp.checking_schema import SchemaRefused, checking_schema, validator_of
from integrations.mcp.lua_names import lua_names
from integrations.mcp.servers_file import Server, ServersFile
from integrations.mcp.tool_list import Tool
from integrations.mcp.trust import Pin, Stamp, TrustFile, tenant_key

PREFIX = "mcp."


@dataclass(frozen=True, slots=True)
class TrustedServer:
    """
    One server and what may be named of it.

    `pin` is None unless its tools are trusted; `functions` has every trusted tool under every name
    it answers to, `tools` the server's own name of each function's tool.
    """

    server: Server
    pin: Pin | None
    functions: Mapping[str, Function]
    tools: Mapping[str, Tool]
    unusable: Mapping[str, str]

    @property
    def integration(self) -> str:
        """Give the name under which grants and records know it: `mcp.files`."""
        return PREFIX + self.server.name

    @property
    def distinct(self) -> list[Function]:
        """Every function once, by name."""
        return sorted({id(one): one for one in self.functions.values()}.values(), key=_name)


def _name(function: Function) -> str:
    return function.name


def trusted_server(server: Server, pin: Pin | None) -> TrustedServer:
    """Put a server and its pin together; a pin of another place counts as none."""
    if pin is None or not pin.covers(server) or not server.enabled:
        return TrustedServer(server, None, {}, {}, {})
    functions: dict[str, Function] = {}
    tools: dict[str, Tool] = {}
    unusable: dict[str, str] = {}
    for name, names in lua_names(pin.tools.tools).items():
        tool = pin.tools.tools[name]
        try:
            function = _function(server, tool, names)
        except SchemaRefused as why:
            unusable[name] = str(why)
            continue
        tools[function.name] = tool
        functions.update(dict.fromkeys(names, function))
    return TrustedServer(server, pin, functions, tools, unusable)


def _function(server: Server, tool: Tool, names: tuple[str, ...]) -> Function:
    tree: dict[str, Any] = checking_schema(tool.input_schema)
    return Function(
        integration=PREFIX + server.name,
        name=names[0],
        aliases=names[1:],
        title=printable(str(tool.described.get("title") or names[0]), 200),
        effect_class=tool.effect_class,
        description=tool.description,
        parameters=tree,
        validator=validator_of(tree),
        takes_more=tree["additionalProperties"] is not False,
    )


class TrustedTools:
    """
    All servers of the operator's file, by tenant, with what is trusted now.

    The file of trust is looked at for each run, so that what `moonsand mcp trust` wrote counts from
    the next run on; the file of servers is read once.
    """

    def __init__(self, servers: ServersFile, trust: TrustFile) -> None:
        self._servers = servers
        self._trust = trust
        self._stamp: Stamp | None = None
        self._pins: Mapping[tuple[str, str], Pin] = {}
        self._ready: dict[str, dict[str, TrustedServer]] = {}

    @classmethod
    def load(cls, path: Path) -> TrustedTools:
        """
        Read both files.

        Raises:
            Invalid: one of them is wrong; the message names the key.
        """
        loaded = cls(ServersFile.load(path), TrustFile(path))
        loaded._stamp = loaded._trust.stamp()
        loaded._pins = loaded._trust.read()
        return loaded

    def for_tenant(self, tenant: str | None) -> Mapping[str, TrustedServer]:
        """Give a tenant's servers by name. What it gave stays as it was for who has it."""
        self._look()
        key = tenant_key(tenant)
        if key not in self._ready:
            self._ready[key] = {
                name: trusted_server(server, self._pins.get((key, name)))
                for name, server in self._servers.for_tenant(tenant).items()
            }
        return self._ready[key]

    def _look(self) -> None:
        stamp = self._trust.stamp()
        if stamp == self._stamp:
            return
        self._ready = {}
        try:
            self._pins = self._trust.read()
        except Invalid as wrong:
            # Trust that cannot be read is none.
            self._pins = {}
            structlog.get_logger(__name__).error("mcp_trust_unreadable", finding=wrong.detail)
        self._stamp = stamp
