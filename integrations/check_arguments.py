"""What is wrong with the literal arguments of a call, by the code that checks real calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
from jsonschema_rs import ValidationErrorKind as Kind

from integrations.argument_problems import problem_text
from integrations.arguments import (
    MAX_EXPLAINED,
    DoesNotFit,
    by_name,
    complete,
    count_values,
    unknown_names,
)
from integrations.check_literals import UNKNOWN, Given, Path
from integrations.failure import nearest, printable
from integrations.function import Function

_RANGES = (
    *(Kind.Minimum, Kind.Maximum, Kind.ExclusiveMinimum, Kind.ExclusiveMaximum),
    *(Kind.MinLength, Kind.MaxLength, Kind.MinItems, Kind.MaxItems),
    *(Kind.MinProperties, Kind.MaxProperties),
)
#: What depends on nothing but the keys that are there, which are known.
_OF_KEYS = (Kind.Required, Kind.AdditionalProperties, Kind.Type)
#: Parts of a schema that count or not as another value says.
_CONDITIONAL = frozenset({"anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"})


@dataclass(frozen=True, slots=True)
class Misfit:
    """One thing wrong with the arguments of a call, at a word (None: at the call itself)."""

    word: int | None
    code: str
    message: str
    hint: str


def misfits_of(function: Function, given: Given) -> list[Misfit]:
    """
    Check what is known of a call's arguments.

    Nothing is said of what is not known: another value there could be right.
    """
    values = list(given.values)
    if function.raw or (given.more and not values) or values == [UNKNOWN]:
        return []  # it may be a table of any parameters
    while values and values[-1] is None:
        values.pop()
    accepted = _accepted(function)
    try:
        named = by_name(function, _without_unknown_tail(function, values))
    except DoesNotFit as misfit:
        return [_misfit(function, None, "invalid_arguments", str(misfit), accepted)]
    origins = _origins(function, values)
    found = []
    for name in unknown_names(function, named):
        near = nearest(name, function.properties)
        hint = f"Did you mean: {', '.join(near)}? {accepted}" if near else accepted
        word = _word(given, (name,), origins)
        shown = f"unknown parameter {printable(name, 64)}"
        found.append(_misfit(function, word, "unknown_parameter", shown, hint))
        del named[name]
    for error in _errors(function, named, open_ended=given.more):
        if error is None:
            text = "the arguments do not fit (too large to say where)"
            return [*found, _misfit(function, None, "invalid_arguments", text, accepted)]
        word = _word(given, tuple(error.instance_path), origins)
        found.append(_misfit(function, word, _code(error), problem_text(error), accepted))
    return found


def _misfit(function: Function, word: int | None, code: str, text: str, hint: str) -> Misfit:
    return Misfit(word, code, f"{function.full_name}: {text}", hint)


def _accepted(function: Function) -> str:
    required = function.parameters.get("required", ())
    names = (f"{name} (required)" if name in required else name for name in function.properties)
    return f"Accepted parameters: {', '.join(names) or 'none'}."


def _without_unknown_tail(function: Function, values: list[Any]) -> list[Any]:
    """Leave out what may be nil at the end, if there are more values than parameters."""
    kept = list(values)
    while len(kept) > max(1, len(function.properties)) and kept[-1] is UNKNOWN:
        kept.pop()
    return kept


def _origins(function: Function, values: list[Any]) -> Mapping[str, Path]:
    """Tell where in the positional arguments each parameter stands."""
    if values and isinstance(values[0], dict):
        aliases = function.parameter_aliases.items()
        renamed = {new: (0, old) for old, new in aliases if old in values[0]}
        return {name: (0, name) for name in values[0]} | renamed
    return {name: (place,) for place, name in enumerate(function.properties)}


def _word(given: Given, path: tuple[str | int, ...], origins: Mapping[str, Path]) -> int | None:
    """Give the word of the value at a path, or of the nearest one around it."""
    place: Path = (*origins.get(str(path[0]), ()), *path[1:]) if path else ()
    while place and place not in given.words:
        place = place[:-1]
    return given.words.get(place)


def _errors(
    function: Function, named: dict[str, Any], *, open_ended: bool
) -> Iterator[jsonschema_rs.ValidationError | None]:
    """Give the errors that are certain; None for too many values to explain."""
    unknown: list[Path] = []
    plain = _as_json(complete(function, named), (), unknown)
    if function.validator.is_valid(plain):
        return
    if count_values(plain, MAX_EXPLAINED) > MAX_EXPLAINED:
        if not unknown and not open_ended:
            yield None
        return
    around = {path[:length] for path in unknown for length in range(len(path) + 1)}
    for error in function.validator.iter_errors(plain):
        path: Path = tuple(error.instance_path)
        missing_here = open_ended and not path and isinstance(error.kind, Kind.Required)
        if not missing_here and (path not in around or _of_keys(error, path, unknown)):
            yield error


def _of_keys(error: jsonschema_rs.ValidationError, path: Path, unknown: list[Path]) -> bool:
    """Tell whether an error about something with unknown parts is an error whatever they are."""
    if not isinstance(error.kind, _OF_KEYS) or path in unknown:
        return False
    return not _CONDITIONAL & {str(step) for step in error.schema_path}


def _as_json(value: Any, path: Path, unknown: list[Path]) -> Any:
    """Put null for what is not known, and note where."""
    if value is UNKNOWN:
        unknown.append(path)
        return None
    if isinstance(value, dict):
        return {key: _as_json(item, (*path, key), unknown) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item, (*path, place), unknown) for place, item in enumerate(value)]
    return value


def _code(error: jsonschema_rs.ValidationError) -> str:
    kind = error.kind
    if isinstance(kind, Kind.Required):
        return "missing_parameter"
    if isinstance(kind, Kind.AdditionalProperties):
        return "unknown_parameter"
    if isinstance(kind, Kind.Type):
        return "wrong_type"
    return "out_of_range" if isinstance(kind, _RANGES) else "invalid_value"
