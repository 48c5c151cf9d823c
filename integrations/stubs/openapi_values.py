"""Reads parameters and bodies back from a request, as a vendor's server would."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from integrations.openapi.contents import encoding_of
from integrations.openapi.model import Body, Parameter
from integrations.openapi.parameters import kinds
from integrations.openapi.schemas import Schemas

MISSING: Any = object()
_DELIMITERS = {"spaceDelimited": " ", "pipeDelimited": "|", "tabDelimited": "\t"}
Pairs = list[tuple[str, str]]


def query_value(one: Parameter, pairs: Pairs, schemas: Schemas) -> Any:  # noqa: PLR0911 (styles)
    """Give the value of a parameter of the query, or MISSING."""
    schema = schemas.written(one.schema)
    given = [value for key, value in pairs if key == one.name]
    if one.as_json:
        return orjson.loads(given[0]) if given else MISSING
    if one.style == "deepObject":
        return _deep(one.name, pairs, schema)
    found = kinds(schema)
    if one.style == "form" and one.explode and "object" in found and "array" not in found:
        properties = schema.get("properties", {})
        inside = {key: value for key, value in pairs if key in properties}
        return coerced(inside, schema) if inside else MISSING
    if not given:
        return MISSING
    if "array" in found and not ("string" in found and len(given) == 1):
        if not one.explode:
            given = given[0].split(_DELIMITERS.get(one.style, ","))
        return coerced(given, schema)
    if "object" in found and not one.explode:
        parts = given[0].split(",")
        return coerced(dict(zip(parts[::2], parts[1::2], strict=False)), schema)
    return coerced(given[0], schema)


def simple_value(one: Parameter, text: str, schemas: Schemas) -> Any:
    """Give the value of a parameter of path or header."""
    schema = schemas.written(one.schema)
    if one.as_json:
        return orjson.loads(text)
    if one.where == "path" and one.style in {"label", "matrix"}:
        text = text.removeprefix(".").removeprefix(f";{one.name}=")
    if "array" in kinds(schema):
        return coerced(text.split(","), schema)
    if "object" in kinds(schema):
        return MISSING
    return coerced(text, schema)


def body_value(body: Body, content_type: str, raw: bytes, schemas: Schemas) -> Any:
    """
    Give the value of a body.

    Raises:
        ValueError: it is not of the type it says.
    """
    schema = schemas.written(body.schema)
    encoding = encoding_of(content_type)
    if encoding == "json":
        return orjson.loads(raw)
    if encoding == "form":
        pairs = parse_qsl(raw.decode(), keep_blank_values=True)
        return _form(pairs, schema, body)
    if encoding == "multipart":
        return _multipart(raw, content_type, schema)
    return raw.decode() if encoding == "text" else raw.hex()


def _form(pairs: Pairs, schema: Mapping[str, Any], body: Body) -> dict[str, Any]:
    result: dict[str, Any] = {}
    properties = schema.get("properties", {})
    for name in dict.fromkeys(re.split(r"\[", key, maxsplit=1)[0] for key, _ in pairs):
        inner = properties.get(name, {})
        part = body.parts.get(name, {})
        given = [value for key, value in pairs if key == name]
        if not given:
            result[name] = _deep(name, pairs, inner)
        elif "array" in kinds(inner):
            if part.get("explode") is False:
                given = given[0].split(_DELIMITERS.get(str(part.get("style")), ","))
            result[name] = coerced(given, inner)
        else:
            result[name] = coerced(given[0], inner)
    return result


def _multipart(raw: bytes, content_type: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    head = f"Content-Type: {content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    message = email.message_from_bytes(head + raw, policy=email.policy.HTTP)
    if not message.is_multipart():
        raise ValueError("no parts")
    properties = schema.get("properties", {})
    values: dict[str, list[Any]] = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content: Any = part.get_payload(decode=True)
        is_json = part.get_content_type() == "application/json"
        values.setdefault(name, []).append(
            orjson.loads(content) if is_json else content.decode("utf-8", "replace")
        )
    return {
        name: coerced(many if "array" in kinds(properties.get(name, {})) else many[0],
                      properties.get(name, {}))
        for name, many in values.items()
    }  # fmt: skip


def _deep(name: str, pairs: Pairs, schema: Mapping[str, Any]) -> Any:
    tree: dict[str, Any] = {}
    found = False
    for key, value in pairs:
        if key != name and not key.startswith(f"{name}["):
            continue
        found = True
        steps = re.findall(r"\[([^\]]*)\]", key[len(name) :])
        if not steps:
            return coerced(value, schema)
        at = tree
        for step in steps[:-1]:
            at = at.setdefault(step, {})
        at[steps[-1]] = value
    return coerced(_listed(tree), schema) if found else MISSING


def _listed(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    inner = {key: _listed(value) for key, value in tree.items()}
    numbered = inner and all(key == str(index) for index, key in enumerate(inner))
    return list(inner.values()) if numbered else inner


def coerced(value: Any, schema: Mapping[str, Any]) -> Any:  # noqa: PLR0911 (a case each)
    """Give texts the types that a schema asks for, where they can have them."""
    if isinstance(value, list):
        items = _inner(schema, "items")
        return [coerced(one, items) for one in value]
    if isinstance(value, dict):
        properties = _inner(schema, "properties")
        return {key: coerced(one, properties.get(key, {})) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    wanted = kinds(schema) or _of_values(schema.get("enum", ()))
    if "string" in wanted and not ({"null"} <= wanted and value == "null"):
        return value
    if not wanted:
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _of_values(values: Iterable[Any]) -> set[str]:
    return {"string" if isinstance(one, str) else "other" for one in values}


def _inner(schema: Mapping[str, Any], word: str) -> Any:
    for one in (schema, *schema.get("anyOf", ()), *schema.get("allOf", ())):
        if isinstance(one.get(word), dict):
            return one[word]
    return {}
