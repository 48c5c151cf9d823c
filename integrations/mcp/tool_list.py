"""
The tools of a server as they are trusted: a list with a digest, and what differs between two.

The digest covers all that a person who trusts the list relies on: names, titles, descriptions,
input and output schemas, and annotations. The order in which a server lists them does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from core.calls import EffectClass
from integrations.arguments import deeper_than
from integrations.failure import printable

MAX_TOOLS = 1_000
MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_TOOL_BYTES = 128 * 1024
MAX_TOOL_NAME = 128
MAX_DEPTH = 64
_PARTS = ("title", "description", "inputSchema", "outputSchema", "annotations")
_MOST_NAMED = 8


class ListRefused(Exception):
    """A server's list of tools cannot be used; the message says why, without the server's words."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool as the server describes it; `described` is the JSON value of the description."""

    name: str
    described: Mapping[str, Any]

    @property
    def effect_class(self) -> EffectClass:
        """Give `read` if the server says that the tool only reads, else `write`."""
        annotations = self.described.get("annotations")
        only_reads = isinstance(annotations, Mapping) and annotations.get("readOnlyHint") is True
        return EffectClass.READ if only_reads else EffectClass.WRITE

    @property
    def description(self) -> str:
        """Give what it is for."""
        return str(self.described.get("description") or "")

    @property
    def input_schema(self) -> Mapping[str, Any]:
        """Give the schema of its arguments."""
        schema = self.described.get("inputSchema")
        return schema if isinstance(schema, Mapping) else {"type": "object"}


@dataclass(frozen=True, slots=True)
class ToolList:
    """All tools of one server by name, in the order of names. `digest` is hexadecimal SHA-256."""

    tools: Mapping[str, Tool]
    digest: str

    @classmethod
    def of(cls, described: Iterable[Mapping[str, Any]]) -> Self:
        """
        Take what a server, or a file of ours, says its tools are.

        Raises:
            ListRefused: it is too much, or a name is given twice or cannot be shown.
        """
        tools: dict[str, Tool] = {}
        for one in described:
            tool = _checked(one)
            if tool.name in tools:
                raise ListRefused(f"it lists {tool.name!r} twice")
            tools[tool.name] = tool
            if len(tools) > MAX_TOOLS:
                raise ListRefused(f"it lists more than {MAX_TOOLS} tools")
        ordered = {name: tools[name] for name in sorted(tools)}
        # Sorted keys: the order of a schema's members means nothing.
        text = orjson.dumps([one.described for one in ordered.values()], option=_SORTED)
        if len(text) > MAX_LIST_BYTES:
            raise ListRefused(f"its list of tools has more than {MAX_LIST_BYTES} bytes")
        return cls(ordered, hashlib.sha256(text).hexdigest())

    def to_json(self) -> list[dict[str, Any]]:
        """Give what `of` takes."""
        return [dict(one.described) for one in self.tools.values()]

    def changes_to(self, other: ToolList) -> str:
        """Say in one line what is another in `other`; empty when nothing is."""
        added = [name for name in other.tools if name not in self.tools]
        gone = [name for name in self.tools if name not in other.tools]
        changed = [
            f"{name} ({', '.join(parts)})"
            for name, tool in self.tools.items()
            if name in other.tools and (parts := _changed(tool, other.tools[name]))
        ]
        words = (("added", added), ("removed", gone), ("changed", changed))
        return "; ".join(f"{word}: {_listed(names)}" for word, names in words if names)


_SORTED = orjson.OPT_SORT_KEYS


def _checked(described: Mapping[str, Any]) -> Tool:
    name = described.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_TOOL_NAME:
        raise ListRefused(f"a tool's name is not 1 to {MAX_TOOL_NAME} characters")
    if printable(name, MAX_TOOL_NAME) != name:
        raise ListRefused("a tool's name has characters that cannot be shown")
    kept = {"name": name, **{key: described[key] for key in _PARTS if described.get(key)}}
    if deeper_than(kept, MAX_DEPTH):
        raise ListRefused(f"{name!r} is described in more than {MAX_DEPTH} levels")
    try:
        size = len(orjson.dumps(kept))
    except (orjson.JSONEncodeError, TypeError):
        raise ListRefused(f"the description of {name!r} is not JSON") from None
    if size > MAX_TOOL_BYTES:
        raise ListRefused(f"{name!r} is described in more than {MAX_TOOL_BYTES} bytes")
    return Tool(name, kept)


def _changed(old: Tool, new: Tool) -> list[str]:
    return [key for key in _PARTS if old.described.get(key) != new.described.get(key)]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
