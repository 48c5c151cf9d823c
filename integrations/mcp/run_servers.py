"""
What the scripts of one run may do with MCP servers: which names there are, and what each one does.

Runs in: worker, CLI. Trusts: the operator's files, as they were when the run began.
Refuses: servers and tools that are not there, arguments that do not fit a tool's schema.
May import: integrations, core, sandbox vocabulary; never the MCP SDK.

The functions of `mcp` lead to the same calls as `app.mcp`: `mcp.call("files.read", {...})` is
checked, granted and recorded as `mcp.files.read`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from core.calls import EffectClass
from integrations.arguments import bind
from integrations.failure import NOT_SENT, CallFailed, did_you_mean, printable
from integrations.function import Function
from integrations.local_call import LocalCall
from integrations.mcp import server_call
from integrations.mcp.answers import tool_row
from integrations.mcp.helper_functions import ASKING, HELPERS
from integrations.mcp.pool import McpPool
from integrations.mcp.server_call import Ask, ServerCall, not_trusted
from integrations.mcp.trust import tenant_key
from integrations.mcp.trusted_tools import PREFIX, TrustedServer, TrustedTools
from integrations.redaction import preview
from sandbox.calls import Call, FunctionSurface

_SENTENCE = f"{NOT_SENT[0].upper()}{NOT_SENT[1:]}."
_ASKS: Mapping[str, Ask] = {
    "resources": server_call.resources,
    "read_resource": server_call.read_resource,
    "prompts": server_call.prompts,
    "get_prompt": server_call.get_prompt,
}


@dataclass(frozen=True, slots=True)
class McpServers:
    """What all runs of one worker share: the servers with what is trusted, and the connections."""

    tools: TrustedTools
    pool: McpPool


@dataclass(frozen=True, slots=True)
class Target:
    """
    What a call leads to, before grants are looked at.

    `positional` is the JSON text of the arguments of `function`; `ask` what a server is asked, None
    for what is answered here.
    """

    function: Function
    positional: bytes
    server: TrustedServer | None = None
    ask: Ask | None = None


class RunServers:
    """The servers of one run's tenant. `allows` tells whether a function is granted."""

    def __init__(
        self, shared: McpServers | None, tenant: str | None, allows: Callable[[Function], bool]
    ) -> None:
        self._pool = shared.pool if shared else None
        self._tenant = tenant_key(tenant)
        self._servers = shared.tools.for_tenant(tenant) if shared else {}
        self._allows = allows

    def surface(self) -> dict[str, FunctionSurface]:
        """
        Give the granted tools of every server by its integration's name.

        A server that is not trusted stands there without functions: whatever a script calls of it
        is answered with the reason.
        """
        surface = {}
        for one in self._servers.values():
            names = [name for name, tool in one.functions.items() if self._allows(tool)]
            if names or (one.pin is None and self._permits_any(one)):
                surface[one.integration] = FunctionSurface(tuple(names), ())
        return surface

    def find(self, call: Call, depth: int) -> Target | None:
        """
        Give what a call leads to; None when it is no call of MCP.

        Raises:
            CallFailed: there is no such server or function.
        """
        if call.integration == "mcp":
            return self._helper(call, depth)
        if call.integration.startswith(PREFIX):
            server = self._server(call.integration.removeprefix(PREFIX))
            return self._tool(server, call.function, call.arguments)
        return None

    def prepare(self, target: Target, depth: int) -> tuple[LocalCall | ServerCall, Any, str]:
        """
        Check the arguments; give the work to do, its arguments and the preview of them.

        Raises:
            CallFailed: they do not fit.
        """
        arguments = bind(target.function, target.positional, depth=depth)
        if target.server is None or target.ask is None or self._pool is None:
            return LocalCall(target.function, arguments), arguments, preview(arguments, ())
        work = ServerCall(
            self._pool, self._tenant, target.server, target.function, arguments, target.ask
        )
        return work, arguments, preview(arguments, (), work.secrets)

    # --- names --------------------------------------------------------------------------------

    def _server(self, name: str) -> TrustedServer:
        found = self._servers.get(name)
        if found is None:
            near = did_you_mean(name, self._servers)
            shown = printable(name, 64)
            text = f"Unknown MCP server: {shown}.{near} {_SENTENCE}"
            raise CallFailed("unknown_server", text)
        return found

    def _tool(self, server: TrustedServer, name: str, positional: bytes) -> Target:
        full = f"{server.integration}.{printable(name, 64)}"
        if server.pin is None:
            raise not_trusted(full, server)
        function = server.functions.get(name)
        if function is None:
            if name in server.unusable:
                raise CallFailed("unusable_tool", f"{full}: {server.unusable[name]}; {NOT_SENT}")
            meant = {alias: one.name for alias, one in server.functions.items()}
            near = did_you_mean(name, meant, meant=meant)
            raise CallFailed("unknown_function", f"Unknown function: {full}.{near} {_SENTENCE}")
        return Target(function, positional, server, server_call.call_tool)

    def _named(self, name: str) -> tuple[TrustedServer, str]:
        """Take `files.read`, `mcp.files.read` or `app.mcp.files.read` apart."""
        short = name.removeprefix("app.").removeprefix(PREFIX)
        server, dot, tool = short.partition(".")
        if not dot or not tool:
            shown = printable(name, 130)
            text = f"Unknown MCP function: {shown}; a name is <server>.<tool>. {_SENTENCE}"
            raise CallFailed("unknown_function", text)
        return self._server(server), tool

    # --- the functions of `mcp` ---------------------------------------------------------------

    def _helper(self, call: Call, depth: int) -> Target:
        function = HELPERS.get(call.function)
        if function is None:
            near = did_you_mean(call.function, HELPERS)
            shown = printable(call.function, 64)
            text = f"Unknown function: mcp.{shown}.{near} {_SENTENCE}"
            raise CallFailed("unknown_function", text)
        if function.name in _LOCAL:
            handler = _LOCAL[function.name]
            return Target(
                replace(function, local=lambda given: handler(self, given)), call.arguments
            )
        given = bind(function, call.arguments, depth=depth)
        if function.name == "call":
            server, tool = self._named(given["name"])
            return self._tool(server, tool, orjson.dumps([given.get("args") or {}]))
        server = self._server(given.pop("server"))
        if server.pin is None:
            raise not_trusted(f"{server.integration}.{ASKING[function.name].name}", server)
        asking = replace(ASKING[function.name], integration=server.integration)
        return Target(asking, orjson.dumps([given]), server, _ASKS[function.name])

    def _list_servers(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        return [self._row(one) for one in self._servers.values()]

    def _row(self, one: TrustedServer) -> dict[str, Any]:
        server = one.server
        return {
            "name": server.name,
            "type": server.type,
            "enabled": server.enabled,
            "trusted": one.pin is not None,
            "source": "operator",
            "url": _origin(server.url),
            "timeout": server.timeout_s,
            "permissions": {
                kind.value: "allow" if self._permits(one, kind) else "deny" for kind in EffectClass
            },
        }

    def _list_tools(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        name = given.get("server")
        servers = self._servers.values() if name is None else [self._server(name)]
        return [
            self._tool_row(one, tool)
            for one in servers
            for tool in one.distinct
            if self._allows(tool)
        ]

    def _schema(self, given: dict[str, Any]) -> dict[str, Any]:
        server, name = self._named(given["name"])
        function = self._tool(server, name, b"[]").function
        if not self._allows(function):
            raise CallFailed("denied", f"{function.full_name} is not granted to this run")
        return self._tool_row(server, function)

    def _tool_row(self, server: TrustedServer, function: Function) -> dict[str, Any]:
        tool = server.tools[function.name]
        row = tool_row(server.server.name, tool.name, function.name, tool.described)
        return {**row, "operation": function.effect_class.value}

    def _permits(self, one: TrustedServer, kind: EffectClass) -> bool:
        every = [*one.distinct, replace(ASKING["resources"], integration=one.integration)]
        if one.pin is None:
            any_tool = replace(ASKING["resources"], name="*", effect_class=kind)
            every = [replace(any_tool, integration=one.integration)]
        return any(tool.effect_class is kind and self._allows(tool) for tool in every)

    def _permits_any(self, one: TrustedServer) -> bool:
        return any(self._permits(one, kind) for kind in EffectClass)


_LOCAL: Mapping[str, Callable[[RunServers, dict[str, Any]], Any]] = {
    "servers": RunServers._list_servers,  # noqa: SLF001 (a table of its own methods)
    "tools": RunServers._list_tools,  # noqa: SLF001
    "schema": RunServers._schema,  # noqa: SLF001
}


def _origin(url: str | None) -> str | None:
    """Give scheme, host and port: the rest of an address may be a key to it."""
    return None if url is None else "/".join(url.split("/")[:3])


def is_mcp_name(integration: str) -> bool:
    """Tell whether an integration's name is one of MCP."""
    return integration == "mcp" or integration.startswith(PREFIX)
