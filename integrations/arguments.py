"""From what a script wrote to the arguments of a function, or to a refusal that helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import orjson

from integrations.argument_problems import problem_text
from integrations.failure import NOT_SENT, CallFailed, did_you_mean, printable
from integrations.function import Function

#: How many problems of one call are named; the rest would only be noise.
MAX_PROBLEMS = 3
#: Most values (lists and objects count) of one call, and of one whose every problem is explained.
MAX_VALUES = 50_000
MAX_EXPLAINED = 1_000


def bind(function: Function, positional: bytes, *, depth: int) -> dict[str, Any]:
    """
    Give the named arguments of a call, checked, with defaults filled in.

    Args:
        function: what is called.
        positional: JSON text of the list of positional arguments. One table holds named
            parameters; plain values are taken in the order of the parameters.
        depth: most levels of nesting.

    Raises:
        CallFailed: `invalid_arguments`; the message names every accepted parameter.
    """
    arguments = _decode(function, positional, depth)
    try:
        given = by_name(function, arguments)
    except DoesNotFit as misfit:
        raise refusal(function, str(misfit)) from None
    unknown = unknown_names(function, given)
    if unknown and not function.takes_more:
        shown = ", ".join(printable(name, 64) for name in unknown[:MAX_PROBLEMS])
        near = did_you_mean(unknown[0], function.properties)
        near = near.replace(" Did", ", did").rstrip("?")
        raise refusal(function, f"unknown parameter {shown}{near}")
    bound = {**complete(function, given), **{name: given[name] for name in unknown}}
    # Once more, now with what was inside texts.
    _check_size(function, bound, depth)
    if not function.validator.is_valid(bound):
        raise refusal(function, _problems(function, bound))
    return bound


class DoesNotFit(Exception):
    """Positional arguments that cannot be named; the message says why."""


def by_name(function: Function, arguments: list[Any]) -> dict[str, Any]:
    """
    Give positional arguments by the names of parameters, which may be unknown ones.

    Raises:
        DoesNotFit: they are neither one table of named parameters nor plain values in order.
    """
    given = _named(function, arguments)
    for old, new in function.parameter_aliases.items():
        if old in given:
            given[new] = given.pop(old)
    return given


def unknown_names(function: Function, given: Mapping[str, Any]) -> list[str]:
    """Give the names that are no parameters."""
    return [name for name in given if name not in function.properties]


def complete(function: Function, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give known parameters in their order and form, with defaults filled in; not yet checked."""
    return {
        name: fit(given[name] if name in given else schema["default"], schema)
        for name, schema in function.properties.items()
        if name in given or "default" in schema
    }


def _problems(function: Function, bound: dict[str, Any]) -> str:
    if count_values(bound, MAX_EXPLAINED) <= MAX_EXPLAINED:
        texts = [problem_text(error) for error in function.validator.iter_errors(bound)]
        return "; ".join(dict.fromkeys(texts[:MAX_PROBLEMS]))
    # Every wrong value is an error, and each takes its time: of many, only the place is said.
    wrong = [
        name
        for name, value in bound.items()
        if not jsonschema_rs.is_valid(function.properties[name], value)
    ]
    return f"{', '.join(wrong) or 'a parameter'} does not fit (too large to say where)"


def first_argument(function: Function, positional: bytes, *, depth: int) -> Any:
    """Give the first positional argument as it came; None when there is none."""
    arguments = _decode(function, positional, depth)
    return arguments[0] if arguments else None


def refusal(function: Function, problem: str) -> CallFailed:
    """Make the error that refuses arguments before anything was sent."""
    accepted = ", ".join(
        f"{name} (required)" if name in function.parameters.get("required", ()) else name
        for name in function.properties
    )
    return CallFailed(
        "invalid_arguments",
        f"{function.full_name}: {problem}; accepted parameters: {accepted or 'none'}; {NOT_SENT}",
    )


def fit(value: Any, schema: Mapping[str, Any]) -> Any:
    """
    Give a value the JSON form its schema asks for, where Lua has only one form for two.

    An empty table becomes `{}` or `[]`, and 10.0 becomes 10 where an integer is wanted. Keywords
    of ours ask for more: `x-json-text` takes text that is a JSON object or list for the value in
    it, `x-number-as-text` writes a whole number as text, `x-trim` takes spaces from both ends, and
    `x-aliases` gives other spellings of values.
    """
    kinds = _kinds(schema)
    if isinstance(value, str):
        return _fit_text(value, schema, kinds)
    if value in ({}, []) and isinstance(value, dict | list):
        wanted = kinds & {"object", "array"}
        return ({} if wanted == {"object"} else []) if len(wanted) == 1 else value
    if isinstance(value, dict):
        inner = _part(schema, "properties")
        return {key: fit(item, inner.get(key, {})) for key, item in value.items()}
    if isinstance(value, list):
        items = _part(schema, "items")
        return [fit(item, items) for item in value]
    as_text = schema.get("x-number-as-text", False)
    if isinstance(value, float) and value.is_integer() and ("integer" in kinds or as_text):
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole and as_text else value


def _fit_text(text: str, schema: Mapping[str, Any], kinds: set[str]) -> Any:
    if schema.get("x-trim"):
        text = text.strip()
    aliases = schema.get("x-aliases", {})
    if text in aliases:
        return aliases[text]
    if schema.get("x-json-text") and text.lstrip()[:1] in {"{", "["}:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        if ("object" if isinstance(value, dict) else "array") in kinds:
            return value
    return text


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """Give every JSON type a schema allows, as far as it says."""
    stated = schema.get("type", [])
    kinds = {stated} if isinstance(stated, str) else set(stated)
    for branch in _branches(schema):
        kinds |= _kinds(branch)
    return kinds


def _part(schema: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    """Give a keyword's schema, from the schema itself or from its alternatives."""
    found: dict[str, Any] = {}
    for one in (schema, *_branches(schema)):
        part = one.get(keyword)
        if isinstance(part, Mapping):
            found = {**part, **found}
    return found


def _branches(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [branch for word in ("anyOf", "oneOf", "allOf") for branch in schema.get(word, ())]


def _decode(function: Function, positional: bytes, depth: int) -> list[Any]:
    try:
        arguments = orjson.loads(positional)
    except orjson.JSONDecodeError:
        raise refusal(function, "the arguments are not JSON") from None
    if not isinstance(arguments, list):
        raise refusal(function, "the arguments are not a list")
    _check_size(function, arguments, depth)
    while arguments and arguments[-1] is None:
        arguments.pop()
    return arguments


def _check_size(function: Function, arguments: Any, depth: int) -> None:
    # What holds all arguments is one level that no script wrote.
    if deeper_than(arguments, depth + 1):
        raise refusal(function, f"the arguments are nested deeper than {depth} levels")
    if count_values(arguments, MAX_VALUES) > MAX_VALUES:
        raise refusal(function, f"the arguments have more than {MAX_VALUES} values")


def deeper_than(value: Any, depth: int) -> bool:
    """Tell whether a JSON value has more than `depth` levels of lists and objects."""
    level = [value]
    for _ in range(depth):
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)


def count_values(value: Any, most: int) -> int:
    """Count the values inside a JSON value, itself included; stop soon after `most`."""
    count = 0
    waiting = [value]
    while waiting and count <= most:
        one = waiting.pop()
        count += 1
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return count


def _named(function: Function, arguments: list[Any]) -> dict[str, Any]:
    if not arguments:
        return {}
    first = arguments[0]
    if isinstance(first, dict | list):
        if len(arguments) > 1:
            raise DoesNotFit("give one table of named parameters, or plain values in order")
        if isinstance(first, list) and first:
            raise DoesNotFit("the table must have named parameters, not a list of values")
        return dict(first)
    names = list(function.properties)
    if len(arguments) > len(names):
        raise DoesNotFit(f"{len(arguments)} values given, at most {len(names)} taken")
    pairs = zip(names, arguments, strict=False)
    return {name: value for name, value in pairs if value is not None}
