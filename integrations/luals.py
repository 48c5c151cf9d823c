"""Definitions for Lua editors (LuaLS `---@meta`), made of the same functions scripts call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from integrations.function import Function, Integration

_TYPES = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "object": "table",
    "null": "nil",
}
_DOCS = """\
docs = {}

---Name every page.
---@return table[]
function docs.list() end

---Find pages by words.
---@param query string
---@param limit? integer
---@return table[]
function docs.search(query, limit) end

---Read one page, such as `mux.list_assets`.
---@param name string
---@return string
function docs.read(name) end
"""
_MCP = """\
mcp = {}

---Name every MCP server.
---@return table[]
function mcp.servers() end

---Name every tool this run may call, or those of one server.
---@param server? string
---@return table[]
function mcp.tools(server) end

---Show one tool with its parameters, as `files.read_file`.
---@param name string
---@return table
function mcp.schema(name) end

---Call a tool by name, as `files.read_file`.
---@param name string
---@param args? table
---@return any
function mcp.call(name, args) end

---Name a server's resources.
---@param server string
---@return table[]
function mcp.resources(server) end

---Read a resource.
---@param server string
---@param uri string
---@return table
function mcp.read_resource(server, uri) end

---Name a server's prompts.
---@param server string
---@return table[]
function mcp.prompts(server) end

---Get a prompt, filled in.
---@param server string
---@param name string
---@param args? table<string, string>
---@return table
function mcp.get_prompt(server, name, args) end
"""


def definitions(integrations: Iterable[Integration]) -> str:
    """Give the text of a definition file for these integrations, for `docs` and for `mcp`."""
    vendors = [one for one in integrations if one.pack is not None]
    parts = ["---@meta", "", "-- Made by `moonsand integrations stubs`.", "", _DOCS, _MCP]
    for integration in vendors:
        parts += _integration(integration)
    names = [f"---@field {one.name} integrations.{one.name}.accounts" for one in vendors]
    parts += ["---@class integrations", *names, "", "---@class app"]
    servers = "table<string, table<string, fun(arguments?: table): any>>"
    parts += ["---@field integrations integrations", f"---@field mcp {servers}", "app = {}"]
    return "\n".join(parts) + "\n"


def _integration(integration: Integration) -> Iterator[str]:
    name = integration.name
    for function in integration.functions:
        yield from _parameters(function)
    yield f"---{_line(integration.title)}"
    yield f"---@class integrations.{name}"
    for function in integration.functions:
        for alias in function.names:
            optional = "" if function.parameters.get("required") else "?"
            kind = f"fun(parameters{optional}: {function.full_name}.parameters): any"
            yield f"---@field {alias} {kind} {_line(function.description)}"
    yield ""
    yield f"---@class integrations.{name}.accounts: integrations.{name}"
    yield f"---@field default integrations.{name}"
    yield f"---@field [string] integrations.{name} The account of this name."
    yield ""


def _parameters(function: Function) -> Iterator[str]:
    yield f"---@class {function.full_name}.parameters"
    required = function.parameters.get("required", ())
    aliases = dict(function.parameter_aliases)
    for name, schema in function.properties.items():
        mark = "" if name in required and name not in aliases.values() else "?"
        yield f"---@field {name}{mark} {_type(schema)} {_line(schema.get('description', ''))}"
    for old, new in aliases.items():
        yield f"---@field {old}? {_type(function.properties[new])} The same as `{new}`."
    yield ""


def _type(schema: Mapping[str, Any]) -> str:
    kinds = list(dict.fromkeys(_kinds(schema)))
    if schema.get("x-json-text"):
        kinds.append("string")
    return "|".join(dict.fromkeys(kinds)) or "any"


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in schema:
        for option in [*schema["enum"], *schema.get("x-aliases", ())]:
            yield orjson.dumps(option).decode() if isinstance(option, str) else "any"
        return
    stated = schema.get("type", ())
    for kind in [stated] if isinstance(stated, str) else stated:
        if kind == "array":
            items = schema.get("items")
            inner = _type(items) if isinstance(items, Mapping) else "any"
            yield f"({inner})[]" if "|" in inner else f"{inner}[]"
        else:
            yield _TYPES.get(kind, "any")
    if schema.get("x-number-as-text"):
        yield "integer"
    for word in ("anyOf", "oneOf"):
        for branch in schema.get(word, ()):
            yield _type(branch) if isinstance(branch, Mapping) else "any"


def _line(text: Any) -> str:
    return " ".join(str(text).split())
