"""Writes a call as Lua source."""

from __future__ import annotations

import re
from typing import Any

from integrations.pack import LUA_KEYWORDS

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WIDTH = 90


def lua_call(path: str, arguments: dict[str, Any]) -> str:
    """Give the source of a script that calls a function and shows its reply."""
    inside = "" if not arguments else _table(arguments, 0)
    return f"local result = {path}({inside})\n\ndump(result)\n"


def lua_value(value: Any, level: int = 0) -> str:
    """Give a JSON value as a Lua expression."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict | list):
        return _table(value, level)
    return str(value)


def _table(value: dict[str, Any] | list[Any], level: int) -> str:
    if isinstance(value, dict):
        parts = [f"{_key(key)} = {lua_value(item, level + 1)}" for key, item in value.items()]
    else:
        parts = [lua_value(item, level + 1) for item in value]
    if not parts:
        return "{}"
    short = "{ " + ", ".join(parts) + " }"
    if len(short) + 2 * level <= _WIDTH and "\n" not in short:
        return short
    indent = "  " * (level + 1)
    return "{\n" + "".join(f"{indent}{part},\n" for part in parts) + "  " * level + "}"


def _key(key: str) -> str:
    plain = _PLAIN_KEY.fullmatch(key) and key not in LUA_KEYWORDS
    return key if plain else f"[{_text(key)}]"


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\{ord(found[0]):03d}", escaped) + '"'
