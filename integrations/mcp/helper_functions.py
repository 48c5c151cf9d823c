"""The functions of the global `mcp`: what they are called, and what they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from integrations.function import Function, local_function

_SERVER = {"type": "string", "minLength": 1, "maxLength": 64}
_TOOL = {"type": "string", "minLength": 1, "maxLength": 256}
_URI = {"type": "string", "minLength": 1, "maxLength": 4_096}
_ARGS = {"type": "object"}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _helper(
    name: str, description: str, properties: Mapping[str, Any], required: tuple[str, ...]
) -> Function:
    return replace(
        local_function(
            "mcp", name, description, _unbound, properties=properties, required=required
        ),
        local=None,
    )


def _unbound(_: Any) -> Any:
    raise TypeError("it belongs to a run")


#: As scripts call them, by name.
HELPERS: Mapping[str, Function] = {
    one.name: one
    for one in (
        _helper("servers", "Name every MCP server.", {}, ()),
        _helper("tools", "Name every tool, or those of one server.", {"server": _SERVER}, ()),
        _helper("schema", "Show one tool with its parameters.", {"name": _TOOL}, ("name",)),
        _helper("call", "Call a tool by name.", {"name": _TOOL, "args": _ARGS}, ("name",)),
        _helper("resources", "Name a server's resources.", {"server": _SERVER}, ("server",)),
        _helper(
            "read_resource",
            "Read a resource.",
            {"server": _SERVER, "uri": _URI},
            ("server", "uri"),
        ),
        _helper("prompts", "Name a server's prompts.", {"server": _SERVER}, ("server",)),
        _helper(
            "get_prompt",
            "Get a prompt, filled in.",
            {"server": _SERVER, "name": _TOOL, "args": _TEXTS},
            ("server", "name"),
        ),
    )
}


def _asking(name: str, method: str, properties: Mapping[str, Any]) -> Function:
    function = _helper(method, HELPERS[name].description, properties, tuple(_first(properties)))
    return replace(function, title=name)


def _first(properties: Mapping[str, Any]) -> list[str]:
    return [name for name in properties if name != "args"]


#: Those that ask a server, without it among their parameters. They are called as the protocol
#: calls them, which no tool can be: a grant for a tool is none for them.
ASKING: Mapping[str, Function] = {
    "resources": _asking("resources", "resources/list", {}),
    "read_resource": _asking("read_resource", "resources/read", {"uri": _URI}),
    "prompts": _asking("prompts", "prompts/list", {}),
    "get_prompt": _asking("get_prompt", "prompts/get", {"name": _TOOL, "args": _TEXTS}),
}
