"""What Swagger 2.0 says differently: parameters without schemas, bodies among parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from integrations.openapi.contents import bare, encoding_of, example_of, preferred
from integrations.openapi.model import Answer, Body, Parameter, Where
from integrations.openapi.refs import Refs

#: Keys of a parameter that are no part of its schema.
_OF_PARAMETER = frozenset(("name", "in", "required", "description", "collectionFormat"))
#: What `collectionFormat` is called since 3.0.
_STYLES = {
    "csv": ("form", False),
    "ssv": ("spaceDelimited", False),
    "tsv": ("tabDelimited", False),
    "pipes": ("pipeDelimited", False),
    "multi": ("form", True),
}


def swagger_parameter(node: Mapping[str, Any]) -> Parameter:
    """Read a parameter of path, query or header."""
    style, explode = _STYLES.get(str(node.get("collectionFormat", "csv")), ("form", False))
    return Parameter(
        name=str(node.get("name", "")),
        where=cast("Where", node["in"]),
        required=node.get("required") is True or node["in"] == "path",
        schema=_schema(node),
        description=str(node.get("description") or ""),
        style=style if node["in"] == "query" else "simple",
        explode=explode,
        example=node.get("x-example"),
    )


def swagger_body(nodes: list[Mapping[str, Any]], consumes: list[str], refs: Refs) -> Body | None:
    """Read the body from the parameters that describe it."""
    for node in nodes:
        if node.get("in") == "body":
            schema = node.get("schema", {})
            kind = preferred([one for one in consumes if isinstance(one, str)])
            encoding = encoding_of(kind) if kind else "json"
            if kind is None or encoding in {"form", "multipart"}:
                kind, encoding = "application/json", "json"
            kind = "application/json" if "*" in kind else bare(kind)
            example = example_of({}, schema, refs)
            required = node.get("required")
            said = str(node.get("description") or "")
            return Body(
                kind, encoding, schema, required if isinstance(required, bool) else None, said,
                example=example,
            )  # fmt: skip
    fields = [node for node in nodes if node.get("in") == "formData"]
    return _form(fields, consumes) if fields else None


def _form(fields: list[Mapping[str, Any]], consumes: list[str]) -> Body:
    has_file = any(node.get("type") == "file" for node in fields)
    kinds = {bare(one) for one in consumes if isinstance(one, str)}
    url_encoded = "application/x-www-form-urlencoded"
    multipart = has_file or ("multipart/form-data" in kinds and url_encoded not in kinds)
    names = [str(node.get("name", "")) for node in fields]
    schema = {
        "type": "object",
        "properties": {
            name: {**_schema(node), "description": str(node.get("description") or "")}
            for name, node in zip(names, fields, strict=True)
        },
        "required": [str(one["name"]) for one in fields if one.get("required") is True],
    }
    parts = {}
    for name, node in zip(names, fields, strict=True):
        style, explode = _STYLES.get(str(node.get("collectionFormat", "csv")), ("form", False))
        parts[name] = {"style": style, "explode": explode}
    kind = "multipart/form-data" if multipart else url_encoded
    return Body(kind, encoding_of(kind), schema, required=None, parts=parts)


def swagger_answer(status: str, node: Mapping[str, Any], produces: list[str], refs: Refs) -> Answer:
    """Read one described answer."""
    schema = node.get("schema")
    if schema is None:
        return Answer(status.upper())
    kind = preferred([one for one in produces if isinstance(one, str)]) or "application/json"
    examples = node.get("examples")
    given = examples.get(kind) if isinstance(examples, dict) else None
    example = given if given is not None else example_of({}, schema, refs)
    return Answer(status.upper(), bare(kind), schema, example)


def _schema(node: Mapping[str, Any]) -> Any:
    if isinstance(node.get("schema"), dict):
        return node["schema"]
    return {key: item for key, item in node.items() if key not in _OF_PARAMETER}
