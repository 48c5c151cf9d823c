"""From names that servers chose to names a Lua script can write."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from integrations.pack import LUA_KEYWORDS

MAX_NAME = 64


def lua_names(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """
    Give, for each distinct name of a tool, every name it answers to, its Lua name first.

    A Lua name is lower-case letters, digits and `_`, at most 64, no keyword, and one tool's alone:
    what depends on the set of names only, never on their order. A tool also answers to its
    own name, as `app.mcp.files["read-file"]`, where no other has that for its Lua name.
    """
    wanted: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        wanted.setdefault(_cleaned(name), []).append(name)
    own: dict[str, str] = {}
    for lua, group in wanted.items():
        # A name that needed no cleaning keeps it; the others say which they are.
        owner = lua if lua in group else group[0] if len(group) == 1 else None
        for name in group:
            own[name] = lua if name == owner else _told_apart(lua, name)
    taken = set(own.values())
    return {
        name: (lua, *(one for one in _also(name) if one not in taken)) for name, lua in own.items()
    }


def _also(name: str) -> list[str]:
    return [name] if len(name) <= MAX_NAME else []


def _cleaned(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    clean = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    if not clean:
        return f"tool_{_digest(name)}"
    if not clean[0].isalpha():
        clean = f"tool_{clean}"
    if clean in LUA_KEYWORDS:
        clean = f"{clean}_"
    return clean if len(clean) <= MAX_NAME else _told_apart(clean, name)


def _told_apart(clean: str, name: str) -> str:
    return f"{clean[: MAX_NAME - 9]}_{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
