"""
The JSON Schemas by which grants limit arguments: small, without references, checked in bounds.

A schema may come from a client, and is checked in the worker's event loop. References are refused
whole: one could name an address to be read, or a schema that never ends. Patterns run in linear
time, but the worst of them slowly: their size, their number and the text they see are bounded.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from core.errors import Invalid

MAX_BYTES = 4_096
MAX_DEPTH = 12
#: Arguments that a schema with patterns is asked about, as JSON, in bytes.
MAX_MATCHED_BYTES = 16_384
_PATTERN_BYTES = 16_384  # of one compiled pattern
#: Words that lead out of a schema, or name a place in it that something else may lead to.
_REFUSED = (
    *("$ref", "$dynamicRef", "$recursiveRef", "$id", "id", "$schema", "$vocabulary"),
    *("$anchor", "$dynamicAnchor", "$recursiveAnchor", "$defs", "definitions"),
)
#: Below these words stand names of arguments or plain values, not words of a schema.
_NAMES = ("properties", "patternProperties", "dependentSchemas")
_VALUES = ("enum", "const", "required", "dependentRequired")
_KNOWN = (
    *_NAMES,
    *_VALUES,
    *("type", "additionalProperties", "propertyNames", "minProperties", "maxProperties"),
    *("items", "prefixItems", "contains", "minContains", "maxContains", "minItems", "maxItems"),
    *("uniqueItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    *("title", "description", "$comment"),
)


def check_schema(schema: Any, pointer: str) -> str:
    """
    Check a schema of named arguments; give its JSON text.

    Raises:
        Invalid: it is too large, refers to something, has an unknown word, or is no JSON Schema.
    """
    if not isinstance(schema, dict):
        raise Invalid("it must be a JSON Schema, as an object", pointer=pointer)
    try:
        text = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, RecursionError) as wrong:
        raise Invalid(f"it cannot be JSON: {wrong}", pointer=pointer) from None
    if len(text) > MAX_BYTES:
        raise Invalid(
            f"the schema has {len(text)} bytes; at most {MAX_BYTES} are allowed", pointer=pointer
        )
    _check_words(schema, pointer, MAX_DEPTH)
    try:
        validator_of(text.decode())
    except (ValueError, jsonschema_rs.ValidationError) as wrong:
        told = str(wrong).partition("\n")[0][:200]
        raise Invalid(f"it is no JSON Schema: {told}", pointer=pointer) from None
    return text.decode()


@lru_cache(maxsize=1024)
def validator_of(text: str) -> jsonschema_rs.Draft202012Validator:
    """Make what checks arguments by a schema that `check_schema` gave."""
    linear = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES)
    return jsonschema_rs.Draft202012Validator(
        orjson.loads(text), pattern_options=linear, offline=True
    )


@lru_cache(maxsize=1024)
def count_patterns(text: str) -> int:
    """Count the regular expressions in a schema that `check_schema` gave."""
    count, waiting = 0, [orjson.loads(text)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            count += isinstance(one.get("pattern"), str)
            named = one.get("patternProperties")
            count += len(named) if isinstance(named, dict) else 0
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return count


def _check_words(schema: Any, pointer: str, depth: int) -> None:
    if depth == 0:
        raise Invalid(f"the schema is nested more than {MAX_DEPTH} levels deep", pointer=pointer)
    if isinstance(schema, list):
        for index, one in enumerate(schema):
            _check_words(one, f"{pointer}/{index}", depth - 1)
    if not isinstance(schema, dict):
        return
    for word, inner in schema.items():
        place = _below(pointer, word)
        _check_word(word, place)
        if word in _NAMES and isinstance(inner, dict):
            for name, one in inner.items():
                _check_words(one, _below(place, name), depth - 1)
        elif word not in _VALUES:
            _check_words(inner, place, depth - 1)


def _check_word(word: object, place: str) -> None:
    if word in _REFUSED:
        raise Invalid("a schema of arguments stands for itself: no references", pointer=place)
    if word not in _KNOWN:
        # A word that nobody knows limits nothing: whoever wrote it meant something else.
        raise Invalid("there is no such word in a schema of arguments", pointer=place)


def _below(pointer: str, name: object) -> str:
    return f"{pointer}/{str(name)[:64].replace('~', '~0').replace('/', '~1')}"
