"""Makes values that satisfy a schema: for the examples of packs and the replies of stand-ins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from integrations.openapi.patterns import matching

_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z", "date": "2026-01-02", "time": "03:04:05Z",
    "email": "ada@example.com", "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "uri": "https://example.com/", "url": "https://example.com/", "hostname": "example.com",
    "ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "byte": "aGVsbG8=",
    "snowflake": "175928847299117063",
}  # fmt: skip
_MAX_LIST = 50
_MAX_TEXT = 2_000
_DEPTH = 12


def sample(schema: Any) -> Any:
    """
    Give a value for a schema without references, as small as it may be.

    It is checked by whoever needs it valid: schemas can ask for the impossible.
    """
    return _sample(schema, _DEPTH)


def valid_sample(schema: Mapping[str, Any]) -> tuple[bool, Any]:
    """Give whether a valid value was found, and the value."""
    value = sample(schema)
    try:
        return jsonschema_rs.Draft202012Validator(dict(schema)).is_valid(value), value
    except (jsonschema_rs.ValidationError, ValueError):
        return False, value


def _sample(schema: Any, depth: int) -> Any:  # noqa: C901, PLR0911 (one case for each type)
    if not isinstance(schema, Mapping):
        return None
    if "enum" in schema:
        return next((one for one in schema["enum"] if one is not None), None)
    kinds = schema.get("type")
    kind = (
        next((one for one in kinds if one != "null"), "null") if isinstance(kinds, list) else kinds
    )
    if kind is None:
        kind = "object" if "properties" in schema else None
    branches = schema.get("anyOf") or ()
    if branches:
        value = _of_branches(schema, branches, depth)
        if kind is None or not isinstance(value, dict):
            return value
        return {**_object(schema, depth), **value}
    if depth <= 0:
        return {"object": {}, "array": [], "string": "x", "boolean": True}.get(str(kind), 1)
    match kind:
        case "object":
            return _object(schema, depth)
        case "array":
            return _array(schema, depth)
        case "string":
            return _string(schema)
        case "integer" | "number":
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
    return "x" if not schema.get("allOf") else _sample(schema["allOf"][0], depth - 1)


def _of_branches(schema: Mapping[str, Any], branches: Any, depth: int) -> Any:
    fallback: Any = None
    for branch in branches:
        stated = {"type": schema["type"]} if "type" in schema else {}
        merged = {**stated, **branch}
        if "properties" in schema and branch.get("type", "object") == "object":
            inside = {**schema["properties"], **branch.get("properties", {})}
            needed = [*schema.get("required", ()), *branch.get("required", ())]
            merged = {**branch, "type": "object", "properties": inside, "required": needed}
        if branch.get("type") == "null":
            continue
        value = _sample(merged, depth - 1)
        try:
            if jsonschema_rs.Draft202012Validator(dict(schema)).is_valid(value):
                return value
        except (jsonschema_rs.ValidationError, ValueError):
            pass
        fallback = value if fallback is None else fallback
    return fallback


def _object(schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    needed = list(schema.get("required", ()))
    least = min(schema.get("minProperties", 0), _MAX_LIST)
    for name in properties:
        if len(needed) >= least:
            break
        if name not in needed:
            needed.append(name)
    value = {name: _sample(properties.get(name, {}), depth - 1) for name in needed}
    extra = schema.get("additionalProperties", {})
    while len(value) < least and extra is not False:
        value[f"key{len(value) + 1}"] = _sample(extra, depth - 1)
    return value


def _array(schema: Mapping[str, Any], depth: int) -> list[Any]:
    head = [_sample(one, depth - 1) for one in schema.get("prefixItems", ())]
    least = min(schema.get("minItems", 1 if "items" in schema else 0), _MAX_LIST)
    least = min(least, schema.get("maxItems", least))
    items = schema.get("items", {})
    options = items.get("enum") if isinstance(items, Mapping) else None
    while len(head) < least:
        one = _sample(items, depth - 1)
        if schema.get("uniqueItems") and one in head:
            one = _other(one, len(head), options)
        head.append(one)
    return head


def _other(value: Any, number: int, options: list[Any] | None) -> Any:
    if options:
        return options[number % len(options)]
    if isinstance(value, str):
        return f"{number}{value}" if value.isdecimal() else f"{value}{number}"
    return value + number if isinstance(value, int | float) else value


def _string(schema: Mapping[str, Any]) -> str:
    least = min(schema.get("minLength", 0), _MAX_TEXT)
    if "pattern" in schema:
        text = matching(schema["pattern"], least) or ""
    else:
        text = _FORMATS.get(schema.get("format", ""), "x")
    if len(text) < least:
        text = text + "x" * (least - len(text))
    return text[: schema["maxLength"]] if "maxLength" in schema else text


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    step = schema.get("multipleOf")
    low = schema.get("minimum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + (1 if whole or step else 0.5)
    high = schema.get("maximum")
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - (1 if whole or step else 0.5)
    value = low if low is not None else min(1, high) if high is not None else 1
    if low is not None and high is not None and not whole and value > high:
        value = (schema.get("exclusiveMinimum", low) + high) / 2
    if step:
        value = -(-value // step) * step
    return int(-(-value // 1)) if whole else value
