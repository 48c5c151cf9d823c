"""
A tool's input schema as arguments are checked against it: bounded, and without references.

What a server wrote may ask for more work than any check is worth, refer to files and addresses, or
to itself. So it is written out as a tree of limited size. A reference that leads into itself or
out of the document becomes "anything", and so does what is not checked here; therefore no keyword
is kept under which a looser part would make the whole stricter (`not`, `if`, `contains`), and
`oneOf` is checked as `anyOf`. The server still has its own check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

MAX_NODES = 2_000
MAX_DEPTH = 32
_ONE = ("additionalProperties", "items", "propertyNames")
_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf", "prefixItems": "prefixItems"}
_MAPS = ("properties", "patternProperties", "dependentSchemas")
_PLAIN = (
    "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "minProperties",
    "maxProperties", "required", "dependentRequired", "description",
)  # fmt: skip


class SchemaRefused(Exception):
    """The schema cannot be used; the message says why."""


def checking_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    Give the schema of an object that accepts at least what `schema` accepts.

    `properties` and `additionalProperties` always stand in it: names that are not listed are
    refused unless the schema says that others may come, or lists none.

    Raises:
        SchemaRefused: it is none of an object, too large, or malformed.
    """
    tree = _Writer(schema).written(schema, (), 0)
    if not isinstance(tree, dict) or tree.get("type", "object") != "object":
        raise SchemaRefused("its input schema is not one of an object")
    listed = tree.get("properties")
    tree["type"] = "object"
    tree["properties"] = listed if isinstance(listed, dict) else {}
    # A union at the top may name properties of its own.
    closed = bool(listed) and not any(word in tree for word in (*_LISTS, "patternProperties"))
    tree.setdefault("additionalProperties", not closed)
    return tree


def validator_of(tree: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """
    Make the validator of a written-out schema; patterns cost time linear in the text.

    Raises:
        SchemaRefused: it is not a JSON Schema.
    """
    try:
        return jsonschema_rs.Draft202012Validator(
            dict(tree), retriever=_no_document, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (jsonschema_rs.ValidationError, ValueError):
        raise SchemaRefused("its input schema is not a JSON Schema") from None


def _is_pattern(text: Any) -> bool:
    """Tell whether a pattern can be searched for in linear time."""
    if not isinstance(text, str):
        return False
    try:
        jsonschema_rs.Draft202012Validator(
            {"pattern": text}, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (jsonschema_rs.ValidationError, ValueError):
        return False
    return True


def _no_document(uri: str) -> Any:
    raise ValueError(uri)


class _Writer:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._nodes = 0

    def written(self, schema: Any, followed: tuple[str, ...], depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise SchemaRefused(
                f"its input schema is larger than {MAX_NODES} parts or {MAX_DEPTH} levels"
            )
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise SchemaRefused("its input schema is not a JSON Schema")
        tree = {word: schema[word] for word in _PLAIN if word in schema}
        if _is_pattern(schema.get("pattern")):
            tree["pattern"] = schema["pattern"]
        self._branches(schema, tree, followed, depth)
        reference = schema.get("$ref")
        if reference is not None:
            tree = self._with_reference(tree, reference, followed, depth)
        return tree

    def _branches(
        self, schema: Mapping[str, Any], tree: dict[str, Any], followed: tuple[str, ...], depth: int
    ) -> None:
        def inner(one: Any) -> Any:
            return self.written(one, followed, depth + 1)

        for word in _ONE:
            if word in schema and not (word == "items" and isinstance(schema[word], list)):
                tree[word] = inner(schema[word])
        for word, checked_as in _LISTS.items():
            if isinstance(schema.get(word), list) and schema[word]:
                alternatives = [inner(one) for one in schema[word]]
                if checked_as in tree:
                    tree.setdefault("allOf", []).append({checked_as: alternatives})
                else:
                    tree[checked_as] = alternatives
        for word in _MAPS:
            if isinstance(schema.get(word), Mapping):
                tree[word] = {str(key): inner(one) for key, one in schema[word].items()}
        if not all(map(_is_pattern, tree.get("patternProperties", ()))):
            del tree["patternProperties"]
            tree["additionalProperties"] = True

    def _with_reference(
        self, tree: dict[str, Any], reference: Any, followed: tuple[str, ...], depth: int
    ) -> Any:
        target = None if reference in followed else self._target(reference)
        if target is None:
            return tree
        found = self.written(target, (*followed, reference), depth + 1)
        if not isinstance(found, dict) or not (set(tree) - {"description"}):
            return {**found, **tree} if isinstance(found, dict) else found
        return {**tree, "allOf": [*tree.get("allOf", []), found]}

    def _target(self, reference: Any) -> Any:
        """Give what a reference inside the document leads to; None for any other."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        at: Any = self._document
        for step in reference[1:].split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(at, Mapping) or key not in at:
                return None
            at = at[key]
        return at
