"""From what an MCP server answers to the value a script sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


def value_of(content: list[dict[str, Any]], structured: Any, output_schema: Any) -> Any:
    """
    Give the value of a tool's answer: its structured content where it has such.

    Servers wrap a plain value, since only objects may be structured content: where `result` is the
    one property of the tool's `output_schema`, the value is what stands there. Without structured
    content one text alone is what its JSON says, or the text itself; anything else is the list of
    content blocks as the server sent it.
    """
    if structured is not None:
        wrapped = _is_wrapper(output_schema) and isinstance(structured, Mapping)
        return structured["result"] if wrapped and set(structured) == {"result"} else structured
    if len(content) == 1 and content[0].get("type") == "text":
        text = str(content[0].get("text", ""))
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return content


def _is_wrapper(schema: Any) -> bool:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return isinstance(properties, Mapping) and set(properties) == {"result"}


def words_of(content: list[dict[str, Any]]) -> str:
    """Give the texts of an answer that tells of a failure, joined."""
    texts = (str(one.get("text", "")) for one in content if one.get("type") == "text")
    return "\n".join(texts).strip()


def dumped(model: Any) -> dict[str, Any]:
    """Give a message of the protocol as JSON values, without what only its transport needs."""
    value: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: one for key, one in value.items() if key not in _ENVELOPE}


_ENVELOPE = frozenset({"_meta", "resultType", "ttlMs", "cacheScope", "nextCursor"})


def tool_row(server: str, name: str, lua_name: str, described: Mapping[str, Any]) -> dict[str, Any]:
    """Give a tool as `mcp.tools` and `mcp.schema` show it, without its effect."""
    schema = described.get("inputSchema")
    schema = schema if isinstance(schema, Mapping) else {}
    return {
        "server": server,
        "name": name,
        "function": f"{server}.{lua_name}",
        "lua_path": f"app.mcp.{server}.{lua_name}",
        "description": str(described.get("description") or ""),
        "parameters": _parameters(schema),
        "schema": dict(schema),
    }


def _parameters(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    properties = schema.get("properties")
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    return [
        {
            "name": name,
            "type": one.get("type", "any") if isinstance(one, Mapping) else "any",
            "required": name in needed,
            "description": str(one.get("description", "")) if isinstance(one, Mapping) else "",
        }
        for name, one in (properties.items() if isinstance(properties, Mapping) else ())
    ]
