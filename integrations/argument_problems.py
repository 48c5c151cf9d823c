"""What is wrong with an argument, in words for the person or model that wrote the script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import orjson
from jsonschema_rs import ValidationErrorKind as Kind

from integrations.failure import printable

_TYPES = {
    "object": "a table with named keys",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nil",
}
_LIMITS: tuple[tuple[Any, str], ...] = (
    (Kind.Minimum, "must be at least {}"),
    (Kind.Maximum, "must be at most {}"),
    (Kind.ExclusiveMinimum, "must be more than {}"),
    (Kind.ExclusiveMaximum, "must be less than {}"),
    (Kind.MinLength, "must have {} characters or more"),
    (Kind.MaxLength, "must have {} characters or fewer"),
    (Kind.MinItems, "must have {} entries or more"),
    (Kind.MaxItems, "must have {} entries or fewer"),
    (Kind.MinProperties, "must have {} keys or more"),
    (Kind.MaxProperties, "must have {} keys or fewer"),
)


def problem_text(error: jsonschema_rs.ValidationError) -> str:
    """
    Say what one validation error means.

    The offending value is shown only when it is a number: anything else may be a secret.
    """
    where = _place(error.instance_path)
    kind: Any = error.kind
    if isinstance(kind, Kind.Required):
        name = f"{where}.{kind.property}" if where else kind.property
        return f"{name} is missing"
    return f"{where or 'the arguments'} {_complaint(kind)}{_seen(error.instance)}"


def _complaint(kind: Any) -> str:
    for limit_kind, text in _LIMITS:
        if isinstance(kind, limit_kind):
            return text.format(kind.limit)
    match kind:
        case Kind.Type():
            said = f"must be {_either(_TYPES.get(name, name) for name in kind.types)}"
        case Kind.Enum():
            said = f"must be {_either(_quoted(option) for option in kind.options)}"
        case Kind.AnyOf() | Kind.OneOfNotValid():
            said = _either_complaint(kind.context)
        case Kind.AdditionalProperties():
            said = f"must not have {', '.join(printable(name, 64) for name in kind.unexpected[:3])}"
        case Kind.Pattern():
            said = f"must match {kind.pattern}"
        case _:
            said = _rare_complaint(kind)
    return said


def _rare_complaint(kind: Any) -> str:
    match kind:
        case Kind.Constant():
            return f"must be {_quoted(kind.expected_value)}"
        case Kind.FalseSchema():
            return "must not be given"
        case _:
            return f"does not fit ({kind.name})"


def _either_complaint(context: list[list[jsonschema_rs.ValidationError]]) -> str:
    """Say what alternatives there are; when one has the right type, what is wrong with it."""
    for branch in context:
        if branch and not any(isinstance(error.kind, Kind.Type | Kind.Enum) for error in branch):
            inner = branch[0]
            return _complaint(inner.kind)
    return _joined(_complaint(error.kind) for branch in context for error in branch)


def _joined(complaints: Iterator[str]) -> str:
    texts = list(dict.fromkeys(complaints))
    if not all(text.startswith("must be ") for text in texts):
        return _either(iter(texts))
    return f"must be {_either(text.removeprefix('must be ') for text in texts)}"


def _either(words: Iterator[str]) -> str:
    listed = list(words)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"


def _quoted(option: Any) -> str:
    return orjson.dumps(option).decode() if isinstance(option, list | dict) else _plain(option)


def _plain(option: Any) -> str:
    return f'"{option}"' if isinstance(option, str) else str(option)


def _seen(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    exact = isinstance(value, int) and abs(value) < 10**15
    return f", not {value}" if exact else f", not {value:g}"


def _place(path: list[str | int]) -> str:
    place = ""
    for step in path:
        # Lua counts from 1.
        place += f"[{step + 1}]" if isinstance(step, int) else f".{printable(step, 64)}"
    return place.lstrip(".")
