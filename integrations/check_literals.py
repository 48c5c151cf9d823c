"""
What the literal arguments of a call are worth, as the JSON values that the broker would see.

What is not a literal is `UNKNOWN`: it is there, and nothing else is known of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from integrations.check_syntax import Node
from integrations.check_tokens import Token
from integrations.check_values import NoValue, value_of

#: Tables nested deeper are not looked into; the broker takes no more levels by default.
MAX_DEPTH = 64
#: Stands for a value that is not known.
UNKNOWN = object()
#: Where a value stands in the arguments: names, and indices that count from 0.
Path = tuple[str | int, ...]
_MANY = frozenset({"function_call", "vararg_expression"})
_WORDS = {"true": True, "false": False}


@dataclass(slots=True)
class Given:
    """
    The arguments of one call.

    `values` are the positional ones; `words` tells at which word each value, or its name, begins.
    `more` is true when an unknown number of values follows.
    """

    values: list[Any] = field(default_factory=list)
    words: dict[Path, int] = field(default_factory=dict)
    more: bool = False


def literals_of(arguments: Sequence[Node], tokens: Sequence[Token]) -> Given:
    """Read the arguments of a call."""
    given = Given()
    reading = _Reading(tokens, given)
    for place, node in enumerate(arguments):
        if place == len(arguments) - 1 and node.kind in _MANY:
            given.more = True
        else:
            given.values.append(reading.value(node, (place,)))
    return given


class _NotJson(Exception):
    """A table that is no JSON value, or whose keys are not all known."""


class _Reading:
    """Reads values; the depth of its recursion is bounded by `MAX_DEPTH`."""

    def __init__(self, tokens: Sequence[Token], given: Given) -> None:
        self._tokens = tokens
        self._given = given

    def value(self, node: Node, path: Path) -> Any:
        """Give the value of an expression, or `UNKNOWN`."""
        while node.kind == "parenthesized_expression":
            node = node.children[0]
        self._given.words.setdefault(path, node.first)
        try:
            if node.kind == "table_constructor" and len(path) <= MAX_DEPTH:
                return self._table(node, path)
            return self._scalar(node)
        except (NoValue, _NotJson):
            return UNKNOWN

    def _scalar(self, node: Node) -> Any:
        if node.kind in _WORDS:
            return _WORDS[node.kind]
        if node.kind == "nil":
            return None
        if node.kind in {"number", "string"}:
            return value_of(self._tokens[node.first])
        sign = [one.kind for one in node.children]
        if node.kind == "unary_expression" and sign == ["-", "number"]:
            return -value_of(self._tokens[node.children[1].first])
        raise NoValue

    def _table(self, node: Node, path: Path) -> dict[str, Any] | list[Any]:
        fields = [one for one in node.children if one.kind == "field"]
        keys = list(self._keys(fields))
        if not keys:
            return {}
        if all(key is None for key, _ in keys):
            if keys[-1][1].kind in _MANY:
                raise _NotJson
            items = [self.value(value, (*path, place)) for place, (_, value) in enumerate(keys)]
            if any(item is None for item in items):
                raise _NotJson  # nil leaves a hole, or makes the list shorter
            return items
        table: dict[str, Any] = {}
        for one, (key, value) in zip(fields, keys, strict=True):
            if key is None:
                raise _NotJson
            self._given.words[(*path, key)] = one.first
            table[key] = self.value(value, (*path, key))
        return {key: value for key, value in table.items() if value is not None}

    def _keys(self, fields: Sequence[Node]) -> Iterator[tuple[str | None, Node]]:
        """Give key (None: the next number) and value of each field."""
        for one in fields:
            name, value = one.get("name"), one.get("value")
            assert value is not None  # noqa: S101 (by the grammar)
            if name is None:
                yield None, value
            elif one.of_kind("[") is None:
                yield self._tokens[name.first].text, value
            else:
                key = self._scalar(name)
                if not isinstance(key, str):
                    raise _NotJson
                yield key, value
