"""
The JSON Schema that a saved script's input is held to: bounded, and complete in itself.

Runs in: api, scheduler, CLI. Trusts: nobody. Refuses: a schema that leads out of itself or into
itself, that is too large when all its references are written out, or has a word nobody checks; a
regular expression that could take more than linear time; an input too large for its schema.
May import: stdlib, jsonschema_rs, orjson, core, integrations.arguments, triggers.

Whoever saves a script writes its schema, and the API checks inputs with it in its own process. The
work is bounded by two numbers, the parts of the schema with references written out and the values
of the input, and by their product, in which each counts by what it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema_rs
import orjson

from core.errors import Invalid
from integrations.arguments import count_values
from triggers.schema_weights import weight_of_input, weight_of_part

MAX_BYTES = 65_536
MAX_PARTS = 1_000
MAX_DEPTH = 32
MAX_PATTERNS = 32
#: Parts of a schema times values of an input, both weighed: about a second at the worst.
MAX_WORK = 2_000_000
MAX_ERRORS = 20
_MAX_TOLD_WORK = 20_000
_PATTERN_BYTES = 16_384  # of one compiled pattern
_DETAIL_CHARS = 300
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
#: Below these stand schemas by names, or in a list; below the others one schema.
_BY_NAME = ("properties", "patternProperties", "dependentSchemas")
_IN_LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
_ONE = (
    *("additionalProperties", "propertyNames", "unevaluatedProperties"),
    *("items", "contains", "unevaluatedItems", "not", "if", "then", "else"),
)
_VALUES = (
    *("type", "enum", "const", "required", "dependentRequired", "uniqueItems", "multipleOf"),
    *("minProperties", "maxProperties", "minItems", "maxItems", "minContains", "maxContains"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
    *("pattern", "title", "description", "default", "examples", "deprecated", "readOnly"),
    *("writeOnly", "$comment", "$defs", "format", "$schema", "$ref"),
)
_KNOWN = frozenset((*_BY_NAME, *_IN_LIST, *_ONE, *_VALUES))
_FORMATS = frozenset(
    (
        *("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6"),
        *("uri", "uri-reference", "uuid", "json-pointer", "regex"),
    )
)


class InputMismatch(Invalid):
    """An input is not what its script's schema says; `errors` are pairs of pointer and detail."""

    def __init__(self, ref: str, errors: list[tuple[str, str]]) -> None:
        pointer, detail = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(
            f"{pointer}: {detail}{more}",
            pointer=pointer,
            hint=f"the schema of {ref} says what its input must be",
        )
        self.errors = errors


def check_schema(schema: Any, pointer: str = "/input_schema") -> str:
    """
    Check a schema; give its JSON text, as it is kept.

    Raises:
        Invalid: it cannot be used; the pointer says where, the message why.
    """
    try:
        text = orjson.dumps(schema)
    except (orjson.JSONEncodeError, RecursionError) as wrong:
        raise Invalid(f"it cannot be JSON: {wrong}", pointer=pointer) from None
    if len(text) > MAX_BYTES:
        raise Invalid(
            f"the schema has {len(text)} bytes; at most {MAX_BYTES} are allowed", pointer=pointer
        )
    _Reader(schema, pointer).read()
    try:
        _validator_of(text.decode())
    except (ValueError, jsonschema_rs.ValidationError) as wrong:
        told = str(wrong).partition("\n")[0][:_DETAIL_CHARS]
        raise Invalid(f"it is no JSON Schema (2020-12): {told}", pointer=pointer) from None
    return text.decode()


def schema_text(schema: Any) -> str:
    """Give the text of a schema that was read from what `check_schema` gave."""
    return orjson.dumps(schema).decode()


def check_input(ref: str, schema: str, value: Any) -> None:
    """
    Hold an input to a schema that `check_schema` gave.

    Raises:
        InputMismatch: with the pointer of each wrong value, `/input` and what is below.
        Invalid: the input has too many values for this schema.
    """
    parts, compares = _weight_of(schema)
    values = (weight_of_input if compares else count_values)(value, MAX_WORK)
    if values * parts > MAX_WORK:
        raise Invalid(
            f"the input counts as {values} values, and the schema of {ref} as {parts} parts: the "
            f"product may be at most {MAX_WORK}",
            pointer="/input",
            hint="fractions count several times, and so do lists in `enum` that are not all texts",
        )
    validator = _validator_of(schema)
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as first:
        # All errors at once are found with their texts: only where that cannot be much.
        few = values * parts <= _MAX_TOLD_WORK
        found = islice(validator.iter_errors(value), MAX_ERRORS) if few else [first]
        raise InputMismatch(ref, [_told(one) for one in found]) from None


def _told(error: jsonschema_rs.ValidationError) -> tuple[str, str]:
    detail = " ".join(error.message.split())
    if len(detail) > _DETAIL_CHARS:
        detail = f"{detail[:_DETAIL_CHARS]}..."
    return "/input" + "".join(_step(part) for part in error.instance_path), detail


def _step(part: object) -> str:
    return "/" + str(part)[:64].replace("~", "~0").replace("/", "~1")


@lru_cache(maxsize=256)
def _validator_of(text: str) -> jsonschema_rs.Draft202012Validator:
    linear = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES)
    return jsonschema_rs.Draft202012Validator(
        orjson.loads(text), pattern_options=linear, offline=True, validate_formats=True
    )


@lru_cache(maxsize=256)
def _weight_of(text: str) -> tuple[int, bool]:
    """Give the parts of a schema by what they cost, and whether it compares values."""
    reader = _Reader(orjson.loads(text), "")
    reader.read()
    return reader.parts + reader.compared, reader.compared > 0


class _Reader:
    """Walks a schema as a check does, following its references, and counts its parts."""

    def __init__(self, document: Any, pointer: str) -> None:
        self._document = document
        self._pointer = pointer
        self._patterns = 0
        self.parts = self.compared = 0

    def read(self) -> None:
        self._walk(self._document, self._pointer, (), 0)

    def _walk(self, schema: Any, place: str, followed: tuple[str, ...], depth: int) -> None:
        self.parts += 1
        if self.parts > MAX_PARTS or depth > MAX_DEPTH:
            raise Invalid(
                f"the schema has more than {MAX_PARTS} parts or {MAX_DEPTH} levels, each "
                "reference counted with all it leads to",
                pointer=place,
            )
        if isinstance(schema, bool):
            return
        if not isinstance(schema, Mapping):
            raise Invalid("a schema is an object, true or false", pointer=place)
        self.compared += weight_of_part(schema)
        for word, inner in schema.items():
            self._check_word(word, inner, place + _step(word))
        for word, inner in schema.items():
            for step, one in _inner(word, inner):
                self._walk(one, place + step, followed, depth + 1)
        if "$ref" in schema:
            self._follow(schema["$ref"], place, followed, depth)

    def _check_word(self, word: str, inner: Any, place: str) -> None:
        if word not in _KNOWN:
            # A word that nobody knows limits nothing: whoever wrote it meant something else.
            raise Invalid("there is no such word in an input schema", pointer=place)
        if word == "$schema" and (not isinstance(inner, str) or inner.rstrip("#") != _DRAFT):
            raise Invalid(f"it must be {_DRAFT}", pointer=place)
        if word == "format" and (not isinstance(inner, str) or inner not in _FORMATS):
            raise Invalid(f"known formats: {', '.join(sorted(_FORMATS))}", pointer=place)
        if word == "pattern" or (word == "patternProperties" and isinstance(inner, Mapping)):
            for pattern in [inner] if word == "pattern" else inner:
                self._check_pattern(pattern, place)

    def _check_pattern(self, pattern: Any, place: str) -> None:
        self._patterns += 1
        if self._patterns > MAX_PATTERNS:
            raise Invalid(f"the schema has more than {MAX_PATTERNS} patterns", pointer=place)
        if not isinstance(pattern, str) or not _is_linear(pattern):
            raise Invalid(
                "this pattern cannot be used: it is malformed, too large when compiled, or needs "
                "look-around or back references, for which no bound on time can be given",
                pointer=place,
            )

    def _follow(self, ref: Any, place: str, followed: tuple[str, ...], depth: int) -> None:
        where = f"{place}/$ref"
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise Invalid(
                "a reference leads to a place in the same schema, as in #/$defs/item; nothing is "
                "fetched",
                pointer=where,
            )
        if ref in followed or ref == "#":
            raise Invalid("a reference must not lead back into itself", pointer=where)
        target: Any = self._document
        for step in ref[2:].split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or key not in target:
                raise Invalid(f"there is nothing at {ref[:100]!a}", pointer=where)
            target = target[key]
        self._walk(target, where, (*followed, ref), depth + 1)


def _inner(word: str, inner: Any) -> Iterator[tuple[str, Any]]:
    if word in _ONE:
        yield _step(word), inner
    elif word in _IN_LIST and isinstance(inner, list):
        for index, one in enumerate(inner):
            yield f"{_step(word)}/{index}", one
    elif word in _BY_NAME and isinstance(inner, Mapping):
        for name, one in inner.items():
            yield _step(word) + _step(name), one


@lru_cache(maxsize=256)
def _is_linear(pattern: str) -> bool:
    linear = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES)
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=linear)
    except (jsonschema_rs.ValidationError, ValueError):
        return False
    return True
