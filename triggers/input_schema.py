"""
The JSON Schema that a saved script's input is held to: bounded, and complete in itself.

Runs in: api, scheduler, CLI. Trusts: nobody. Refuses: a schema that leads out of itself, or back to
the same value, that is too large when all its references are written out, or has a word nobody
checks; a regular expression that could take more than linear time; an input too large for its
schema.
May import: stdlib, jsonschema_rs, orjson, core, integrations.arguments, triggers.

Whoever saves a script writes its schema, and the API checks inputs with it in its own process. The
work is bounded by two numbers, the parts of the schema with references written out and the values
of the input, and by their product, in which each counts by what it costs. Where references lead
back, from a value to what is in it, nothing can be written out: then each check is counted first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema_rs
import orjson

from core.errors import Invalid
from integrations.arguments import count_values, deeper_than
from triggers.schema_steps import CHOICES, steps_of, target_of
from triggers.schema_weights import weight_of_input, weight_of_part

MAX_BYTES = 65_536
MAX_PARTS = 1_000
MAX_DEPTH = 32
MAX_PATTERNS = 32
#: Parts of a schema times values of an input, both weighed: about a second at the worst.
MAX_WORK = 2_000_000
#: The same for a schema that leads back into itself, counted one by one; and levels of the input.
MAX_STEPS = 50_000
MAX_LEVELS = 64
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
#: What stands below these is held to the same value as they are, not to what is in it.
_SAME_VALUE = frozenset((*_IN_LIST[:3], *_ONE[-4:], "dependentSchemas"))
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
    work = _bounded(ref, schema, value)
    validator = _validator_of(schema)
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as first:
        # All errors at once are found with their texts: only where that cannot be much.
        few = work <= _MAX_TOLD_WORK
        found = islice(validator.iter_errors(value), MAX_ERRORS) if few else [first]
        raise InputMismatch(ref, [_told(one) for one in found]) from None


def _bounded(ref: str, schema: str, value: Any) -> int:
    """Give how much a check does, at the most; refuse what would be too much."""
    size = _size_of(schema)
    hint = "fractions count several times, and so do lists in `enum` that are not all texts"
    if size.recursive:
        if deeper_than(value, MAX_LEVELS):
            raise Invalid(
                f"the input has more than {MAX_LEVELS} levels, and the schema of {ref} leads back "
                "into itself",
                pointer="/input",
            )
        steps = steps_of(_document_of(schema), value, MAX_STEPS)
        if steps > MAX_STEPS:
            raise Invalid(
                f"to hold the input to the schema of {ref}, which leads back into itself, takes "
                f"more than {MAX_STEPS} steps",
                pointer="/input",
                hint=hint,
            )
        return steps
    values = (weight_of_input if size.compares else count_values)(value, MAX_WORK)
    if values * size.parts > MAX_WORK:
        raise Invalid(
            f"the input counts as {values} values, and the schema of {ref} as {size.parts} parts: "
            f"the product may be at most {MAX_WORK}",
            pointer="/input",
            hint=hint,
        )
    return values * size.parts


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
def _document_of(text: str) -> Any:
    return orjson.loads(text)


@dataclass(frozen=True, slots=True)
class _Size:
    """The parts of a schema by what they cost, and whether it compares values, or leads back."""

    parts: int
    compares: bool
    recursive: bool


@lru_cache(maxsize=256)
def _size_of(text: str) -> _Size:
    reader = _Reader(_document_of(text), "")
    reader.read()
    return _Size(reader.work, reader.compares, reader.recursive)


@dataclass(frozen=True, slots=True)
class _Trail:
    """
    The references that were followed to a place; `here` are those to the same value.

    `choices` of alternatives stand above the place: when none fits, each tells of all below it.
    """

    followed: frozenset[str] = frozenset({"#"})
    here: frozenset[str] = frozenset({"#"})
    depth: int = 0
    choices: int = 0

    def into(self, word: str) -> _Trail:
        """Go on to what stands below a word."""
        here = self.here if word in _SAME_VALUE else frozenset[str]()
        return _Trail(self.followed, here, self.depth + 1, self.choices + (word in CHOICES))

    def through(self, ref: str) -> _Trail:
        """Go on to what a reference means."""
        followed, here = self.followed | {ref}, self.here | {ref}
        return _Trail(followed, here, self.depth + 1, self.choices)


class _Reader:
    """Walks a schema as a check does, following its references, and counts its parts."""

    def __init__(self, document: Any, pointer: str) -> None:
        self._document = document
        self._pointer = pointer
        self._patterns = 0
        self._parts = self.work = 0
        self.compares = self.recursive = False
        self._unevaluated: str | None = None

    def read(self) -> None:
        self._walk(self._document, self._pointer, _Trail())
        if self.recursive and self._unevaluated is not None:
            raise Invalid(
                "this word cannot stand in a schema that leads back into itself: no bound on its "
                "work can be given",
                pointer=self._unevaluated,
            )

    def _walk(self, schema: Any, place: str, trail: _Trail) -> None:
        self._parts += 1
        self.work += 1 + trail.choices
        if self._parts > MAX_PARTS or trail.depth > MAX_DEPTH:
            raise Invalid(
                f"the schema has more than {MAX_PARTS} parts or {MAX_DEPTH} levels, each "
                "reference counted with all it leads to",
                pointer=place,
            )
        if isinstance(schema, bool):
            return
        if not isinstance(schema, Mapping):
            raise Invalid("a schema is an object, true or false", pointer=place)
        compared = weight_of_part(schema)
        self.work += compared * (1 + trail.choices)
        self.compares = self.compares or compared > 0
        for word, inner in schema.items():
            self._check_word(word, inner, place + _step(word))
        for word, inner in schema.items():
            for step, one in _inner(word, inner):
                self._walk(one, place + step, trail.into(word))
        if "$ref" in schema:
            self._follow(schema["$ref"], f"{place}/$ref", trail)

    def _check_word(self, word: str, inner: Any, place: str) -> None:
        if word not in _KNOWN:
            # A word that nobody knows limits nothing: whoever wrote it meant something else.
            raise Invalid("there is no such word in an input schema", pointer=place)
        if word.startswith("unevaluated"):
            self._unevaluated = place
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

    def _follow(self, ref: Any, where: str, trail: _Trail) -> None:
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise Invalid(
                "a reference leads to a place in the same schema, as in #/$defs/item; nothing is "
                "fetched",
                pointer=where,
            )
        if ref in trail.here:
            raise Invalid("a reference must not lead back to the same value", pointer=where)
        if ref in trail.followed:
            self.recursive = True
            return
        try:
            target = target_of(self._document, ref)
        except KeyError:
            raise Invalid(f"there is nothing at {ref[:100]!a}", pointer=where) from None
        self._walk(target, where, trail.through(ref))


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
