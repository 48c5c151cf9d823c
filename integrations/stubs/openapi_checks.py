"""Checks values against a document's own schemas, references followed and not written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from integrations.openapi.reading import Document
from integrations.openapi.refs import Refs
from integrations.openapi.schemas import usable_pattern

_HERE = "urn:document"
_TYPES = frozenset(("object", "array", "string", "integer", "number", "boolean", "null"))
#: Keywords whose values are schemas by name, lists of schemas, and schemas.
_NAMED = frozenset(("properties", "patternProperties", "definitions", "$defs", "schemas"))
_DROPPED = frozenset(("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "example", "examples"))


class Checks:
    """Validates requests as the document says, with 3.0 and 2.0 read as JSON Schema 2020-12."""

    def __init__(self, document: Document) -> None:
        self._refs = Refs(document.root)
        self._nullable = "x-nullable" if document.dialect == "2.0" else "nullable"
        root = document.root
        resource = {
            "definitions": self._named(root.get("definitions")),
            "components": {"schemas": self._named(self._part("schemas"))},
        }
        self._registry = jsonschema_rs.Registry([(_HERE, resource)])
        self._validators: dict[int, Any] = {}

    def problem(self, schema: Any, value: Any) -> str | None:
        """Say what is wrong with a value; None when nothing is."""
        validator = self._validator(schema)
        if validator is None:
            return None
        for error in validator.iter_errors(value):
            return f"{'/'.join(map(str, error.instance_path))}: {error.message}"[:300]
        return None

    def _validator(self, schema: Any) -> Any:
        if id(schema) not in self._validators:
            try:
                made: Any = jsonschema_rs.Draft202012Validator(
                    self._converted(schema), registry=self._registry
                )
            except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
                made = None  # a schema that is none checks nothing
            # The schema is kept, or another one could come to have its address.
            self._validators[id(schema)] = (schema, made)
        return self._validators[id(schema)][1]

    def _part(self, name: str) -> Any:
        components = self._refs.root.get("components")
        return components.get(name) if isinstance(components, dict) else None

    def _named(self, schemas: Any) -> dict[str, Any]:
        known = schemas if isinstance(schemas, dict) else {}
        return {name: self._converted(one) for name, one in known.items()}

    def _converted(self, schema: Any) -> Any:
        if not isinstance(schema, dict):
            return schema if isinstance(schema, bool) else {}
        result = {
            "anyOf" if key == "oneOf" and "anyOf" not in schema else key: self._keyword(key, value)
            for key, value in schema.items()
            if key not in _DROPPED and not (key == "not" or key.startswith(("if", "x-")))
        }
        if isinstance(ref := result.get("$ref"), str):
            result["$ref"] = f"{_HERE}{self._addressable(ref)}"
        _bounds(result)
        _repaired(result)
        self._readable(schema, result)
        if schema.get(self._nullable) is True:
            result.pop(self._nullable, None)
            return {"anyOf": [result, {"type": "null"}]}
        return result

    def _addressable(self, ref: str) -> str:
        return ref if ref.startswith(("#/components/schemas/", "#/definitions/")) else "#/unknown"

    def _keyword(self, key: str, value: Any) -> Any:
        if key in _NAMED and isinstance(value, dict):
            return {name: self._converted(one) for name, one in value.items()}
        if isinstance(value, list) and key in {"allOf", "anyOf", "oneOf", "prefixItems"}:
            return [self._converted(one) for one in value]
        if key in {"items", "additionalProperties"}:
            return self._converted(value)
        return value

    def _readable(self, schema: Mapping[str, Any], result: dict[str, Any]) -> None:
        """Ask nobody for what is only read."""
        properties, required = schema.get("properties"), result.get("required")
        if isinstance(properties, dict) and isinstance(required, list):
            result["required"] = [
                name
                for name in required
                if self._refs.resolved(properties.get(name)).get("readOnly") is not True
            ]


def _bounds(schema: dict[str, Any]) -> None:
    for end in ("Minimum", "Maximum"):
        excluded = schema.get(f"exclusive{end}")
        if isinstance(excluded, bool):
            del schema[f"exclusive{end}"]
            if excluded and end.lower() in schema:
                schema[f"exclusive{end}"] = schema.pop(end.lower())


def _repaired(schema: dict[str, Any]) -> None:
    """Take out what is no JSON Schema, as real documents have it."""
    if not isinstance(schema.get("required", []), list):
        del schema["required"]
    if "type" in schema:
        stated = schema["type"]
        kinds = ["string"] if stated == "file" else stated if isinstance(stated, list) else [stated]
        kinds = [one for one in kinds if one in _TYPES]
        schema.pop("type")
        if kinds:
            schema["type"] = list(dict.fromkeys(kinds))
    if "pattern" in schema and not usable_pattern(str(schema["pattern"])):
        del schema["pattern"]
    if not isinstance(schema.get("enum", []), list):
        del schema["enum"]
