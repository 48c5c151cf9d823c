"""
From a document's schemas to plain JSON Schema 2020-12 without references.

References are written out to a bounded depth and size; what is left, and every circle, becomes an
open value that the vendor checks. `oneOf` becomes `anyOf`: documents are often ambiguous, and the
vendor decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs
import orjson

from integrations.openapi.reading import Dialect
from integrations.openapi.refs import Refs
from integrations.openapi.texts import one_line

#: JSON bytes of one written schema, and levels of nesting tried until it fits.
MAX_SCHEMA_BYTES = 12_000
_DEPTHS = (10, 8, 6, 5, 4, 3, 2, 1)
_MAX_NODES = 3_000
_MAX_DESCRIPTION = 160
_MAX_ENUM = 300
_TYPES = frozenset(("object", "array", "string", "integer", "number", "boolean", "null"))
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_BINARY = frozenset(("binary", "byte-stream", "file"))


class _TooLarge(Exception):
    """More nodes than a written schema may have."""


@dataclass(slots=True)
class Schemas:
    """
    Writes out schemas of one document.

    `reply` is the direction: what is only written is no part of replies, what is only read none
    of requests.
    """

    refs: Refs
    dialect: Dialect
    reply: bool = False
    _nodes: int = field(default=0, repr=False)

    def written(self, schema: Any, max_bytes: int = MAX_SCHEMA_BYTES) -> dict[str, Any]:
        """Give a schema without references that has at most about `max_bytes` as JSON."""
        for depth in _DEPTHS:
            self._nodes = 0
            try:
                result = self._convert(schema, depth, ())
            except _TooLarge:
                continue
            if len(orjson.dumps(result)) <= max_bytes:
                return result
        return self._open(schema)

    def is_binary(self, schema: Any) -> bool:
        """Tell whether a schema describes the bytes of a file."""
        node = self.refs.resolved(schema)
        return (
            node.get("type") == "file"
            or node.get("format") in _BINARY
            or node.get("contentEncoding") == "binary"
            or ("contentMediaType" in node and "contentEncoding" not in node)
        )

    def _open(self, schema: Any) -> dict[str, Any]:
        """Give what is known of a value that is not written out: its type, and a word on it."""
        node = self.refs.resolved(schema)
        result: dict[str, Any] = {}
        if kinds := _types(node):
            result["type"] = kinds if len(kinds) > 1 else kinds[0]
        elif "properties" in node:
            result["type"] = "object"
        if text := one_line(node.get("description"), _MAX_DESCRIPTION):
            result["description"] = text
        return self._nullable(node, result)

    def _convert(self, schema: Any, depth: int, stack: tuple[str, ...]) -> dict[str, Any]:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _TooLarge
        if not isinstance(schema, dict):
            return {"not": {}} if schema is False else {}
        chain = stack
        while isinstance(ref := schema.get("$ref"), str):
            if ref in chain:
                # A circle of nothing but references describes nothing.
                return self._open(schema) if ref in stack else {}
            chain = (*chain, ref)
            target = self.refs.target(ref)
            own = {key: item for key, item in schema.items() if key != "$ref"}
            schema = {**target, **own} if isinstance(target, dict) else {}
        if depth <= 0:
            return self._open(schema)
        result = _plain_keywords(schema)
        self._children(schema, result, depth - 1, chain)
        result = self._nullable(schema, result)
        return self._merged(schema, result, depth - 1, chain)

    def _children(
        self, schema: Mapping[str, Any], result: dict[str, Any], depth: int, stack: tuple[str, ...]
    ) -> None:
        properties = schema.get("properties")
        if isinstance(properties, dict):
            shown = {name: one for name, one in properties.items() if self._shown(one)}
            result["properties"] = {
                name: self._convert(one, depth, stack) for name, one in shown.items()
            }
            hidden = set(properties) - set(shown)
            needed = [name for name in result.get("required", ()) if name not in hidden]
            result.pop("required", None)
            if needed:
                result["required"] = needed
        for word in ("items", "additionalProperties"):
            inner = schema.get(word)
            if isinstance(inner, dict):
                result[word] = self._convert(inner, depth, stack)
            elif inner is False:
                result[word] = False
        for word in ("prefixItems", "anyOf", "oneOf"):
            many = schema.get(word)
            if isinstance(many, list) and many:
                key = "anyOf" if word == "oneOf" else word
                branches = [self._convert(one, depth, stack) for one in many]
                if key in result and key == "anyOf":
                    result.setdefault("allOf", []).append({"anyOf": branches})
                else:
                    result[key] = branches

    def _shown(self, schema: Any) -> bool:
        if schema is False:
            return False
        hidden = "writeOnly" if self.reply else "readOnly"
        return self.refs.resolved(schema).get(hidden) is not True

    def _merged(
        self, schema: Mapping[str, Any], result: dict[str, Any], depth: int, stack: tuple[str, ...]
    ) -> dict[str, Any]:
        """Take the parts of `allOf` into one schema, as far as they do not contradict."""
        parts = schema.get("allOf")
        for part in parts if isinstance(parts, list) else ():
            result = _joined(result, self._convert(part, depth, stack))
        return result

    def _nullable(self, schema: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        nullable = schema.get("x-nullable" if self.dialect == "2.0" else "nullable")
        if nullable is not True:
            return result
        if "enum" in result and None not in result["enum"]:
            result["enum"] = [*result["enum"], None]
        if "type" in result:
            kinds = result["type"] if isinstance(result["type"], list) else [result["type"]]
            result["type"] = [*kinds, "null"] if "null" not in kinds else kinds
        elif "anyOf" in result:
            result["anyOf"] = [*result["anyOf"], {"type": "null"}]
        return result


def _types(schema: Mapping[str, Any]) -> list[str]:
    stated = schema.get("type")
    if stated == "file":
        return ["string"]
    kinds = stated if isinstance(stated, list) else [stated]
    return list(dict.fromkeys(one for one in kinds if isinstance(one, str) and one in _TYPES))


def _plain_keywords(schema: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if kinds := _types(schema):
        result["type"] = kinds if len(kinds) > 1 else kinds[0]
    elif isinstance(schema.get("properties"), dict):
        result["type"] = "object"
    if text := one_line(schema.get("description"), _MAX_DESCRIPTION):
        result["description"] = text
    if isinstance(schema.get("format"), str):
        result["format"] = schema["format"][:40]
    if "const" in schema:
        result["enum"] = [schema["const"]]
    elif isinstance(schema.get("enum"), list) and 0 < len(schema["enum"]) <= _MAX_ENUM:
        result["enum"] = _distinct(schema["enum"])
    result.update(_limits(schema))
    if isinstance(schema.get("pattern"), str) and usable_pattern(schema["pattern"]):
        result["pattern"] = schema["pattern"]
    if schema.get("uniqueItems") is True:
        result["uniqueItems"] = True
    required = schema.get("required")
    if isinstance(required, list):
        named = list(dict.fromkeys(name for name in required if isinstance(name, str)))
        result.update({"required": named} if named else {})
    return result


def _limits(schema: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for word in _COUNTS:
        value = schema.get(word)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            result[word] = value
    for word in _BOUNDS:
        value = schema.get(word)
        if isinstance(value, int | float) and not isinstance(value, bool):
            result[word] = value
    for end in ("Minimum", "Maximum"):
        # 3.0 says with a boolean that the other keyword's bound is itself excluded.
        if schema.get(f"exclusive{end}") is True and end.lower() in result:
            result[f"exclusive{end}"] = result.pop(end.lower())
    step = schema.get("multipleOf")
    if isinstance(step, int | float) and not isinstance(step, bool) and step > 0:
        result["multipleOf"] = step
    return result


def _distinct(values: list[Any]) -> list[Any]:
    return list({orjson.dumps(one): one for one in values}.values())


def usable_pattern(pattern: str) -> bool:
    """Tell whether a pattern can be checked in time that grows with the text, no faster."""
    if len(pattern) > 500:
        return False
    schema = {"pattern": pattern}
    try:
        jsonschema_rs.Draft202012Validator(schema)
        jsonschema_rs.Draft202012Validator(schema, pattern_options=jsonschema_rs.RegexOptions())
    except (jsonschema_rs.ValidationError, ValueError):
        return False
    return True


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Give one schema that asks for both."""
    result = dict(one)
    for key, value in other.items():
        if key == "properties":
            mine = result.get("properties", {})
            both = {name: _joined(mine[name], value[name]) for name in mine if name in value}
            result[key] = {**mine, **value, **both}
        elif key == "required":
            result[key] = list(dict.fromkeys([*result.get(key, ()), *value]))
        elif key == "additionalProperties" and (value is False or result.get(key) is False):
            # Each part of an `allOf` would refuse the keys of the others.
            result.pop(key, None)
        elif key not in result or key in {"description", "format"}:
            result.setdefault(key, value)
        elif result[key] != value:
            result["allOf"] = [*result.get("allOf", ()), {key: value}]
    return result
