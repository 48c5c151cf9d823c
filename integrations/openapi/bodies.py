"""Bodies of requests: one parameter for each key where a body is an object, else one for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.openapi.entries import Entries
from integrations.openapi.model import Body, Operation
from integrations.openapi.parameters import kinds
from integrations.openapi.schemas import Schemas

_SENT_ALONE = frozenset(("POST", "PUT", "PATCH"))
_USUAL = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data",
    "text": "text/plain",
}
#: A file of a form, as scripts give it.
FILE = {
    "type": "object",
    "description": "A file: `filename`, and its content as `text` or `base64`",
    "properties": {
        "filename": {"type": "string", "maxLength": 255},
        "content_type": {"type": "string", "maxLength": 100},
        "text": {"type": "string"},
        "base64": {"type": "string"},
    },
    "anyOf": [{"required": ["filename", "text"]}, {"required": ["filename", "base64"]}],
    "additionalProperties": False,
}
_FILE_EXAMPLE = {"filename": "file.txt", "content_type": "text/plain", "text": "hello"}


def body_request(operation: Operation, entries: Entries, schemas: Schemas) -> dict[str, Any]:
    """Add the body's parameters to the entries, and give the pack's keys that describe it."""
    body = operation.body
    if body is None:
        return {}
    request: dict[str, Any] = {}
    if body.encoding != "json":
        request["encoding"] = body.encoding
    if body.content_type != _USUAL.get(body.encoding):
        request["content_type"] = body.content_type
    if body.encoding == "multipart" and body.content_type != _USUAL["multipart"]:
        del request["content_type"]
    if body.encoding in {"text", "base64"}:
        request["body_from"] = _raw(body, entries)
        return request
    written = schemas.written(body.schema)
    if written.get("properties") and "anyOf" not in written and "array" not in kinds(written):
        request |= _flat(body, written, entries, schemas)
    else:
        request["body_from"] = _whole(body, written, entries)
    if body.required is False or (body.required is None and operation.method not in _SENT_ALONE):
        request["skip_empty_body"] = True
    return request


def _raw(body: Body, entries: Entries) -> str:
    told = "The body" if body.encoding == "text" else "The body, as base64"
    example = "hello" if body.encoding == "text" else "aGVsbG8="
    shown = body.example if isinstance(body.example, str) and body.encoding == "text" else example
    return entries.add(
        "body", "whole", {"type": "string"}, required=body.required is not False,
        description=body.description or told, example=shown,
    )  # fmt: skip


def _whole(body: Body, written: Mapping[str, Any], entries: Entries) -> str:
    schema = dict(written)
    if body.encoding in {"form", "multipart"} and kinds(schema) != {"object"}:
        schema = {"type": "object"}
    return entries.add(
        "body", "whole", schema, required=body.required is True,
        description=body.description, example=body.example,
    )  # fmt: skip


def _flat(
    body: Body, written: Mapping[str, Any], entries: Entries, schemas: Schemas
) -> dict[str, Any]:
    node = schemas.refs.resolved(body.schema)
    raw = node.get("properties")
    raw_properties = raw if isinstance(raw, dict) else {}
    examples = body.example if isinstance(body.example, dict) else {}
    needed = () if body.required is False else written.get("required", ())
    request: dict[str, Any] = {"body": {}}
    for key, schema in written["properties"].items():
        given = raw_properties.get(key, {})
        style = _style(body, key, given, schema, schemas)
        example = examples.get(key)
        if style == "file":
            many = "array" in kinds(schema)
            schema = {"type": "array", "items": FILE} if many else FILE  # noqa: PLW2901
            example = [_FILE_EXAMPLE] if many else _FILE_EXAMPLE
        required = key in needed
        name = entries.add(
            key,
            "body",
            schema,
            required=required,
            default=schemas.refs.resolved(given).get("default"),
            keep_default=required,
            example=example if style != "file" or required else None,
        )
        request["body"][key] = {"from": name, "style": style} if style else name
    if _further(node, written):
        request["body_from"] = entries.add(
            "body", "further", {"type": "object"}, required=False,
            description="Further keys of the body, beside those that have a parameter",
        )  # fmt: skip
    return request


def _further(node: Mapping[str, Any], written: Mapping[str, Any]) -> bool:
    """Tell whether a document says in so many words that there may be other keys."""
    return node.get("additionalProperties") is True or bool(written.get("additionalProperties"))


def _style(  # noqa: PLR0911 (one for each way to write a value)
    body: Body, key: str, given: Any, schema: Mapping[str, Any], schemas: Schemas
) -> str | None:
    if body.encoding == "json":
        return None
    node = schemas.refs.resolved(given)
    if body.encoding == "multipart" and (
        schemas.is_binary(node) or schemas.is_binary(node.get("items"))
    ):
        return "file"
    found = kinds(schema)
    if not found & {"array", "object"}:
        return None
    part = body.parts.get(key)
    part = part if isinstance(part, dict) else {}
    style, explode = part.get("style"), part.get("explode")
    if style == "deepObject":
        return "deep"
    if "array" in found:
        joined = {"spaceDelimited": "space", "pipeDelimited": "pipe", "tabDelimited": "tab"}
        return joined.get(str(style), "comma") if explode is False else "repeat"
    if body.encoding == "multipart":
        return None
    if style == "form":
        return "comma" if explode is False else "spread"
    return "json"
