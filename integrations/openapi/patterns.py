"""Makes a short text that matches a regular expression, for examples and stand-ins."""

from __future__ import annotations

import re
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

_MAX_LENGTH = 2_000
_CATEGORY = {
    "CATEGORY_DIGIT": "1",
    "CATEGORY_WORD": "a",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_DIGIT": "a",
    "CATEGORY_NOT_WORD": "-",
    "CATEGORY_NOT_SPACE": "a",
}
_CANDIDATES = "a1A-_. x0/:@#"


def matching(pattern: str, least: int = 0) -> str | None:
    """
    Give a text that matches, of at least `least` characters where the pattern lets it grow.

    None when there is none to be found this way; the caller checks the text in any case.
    """
    try:
        tree = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return None
    for extra in (0, 1, least, least + 1):
        try:
            text = _sequence(tree, extra)
        except (_Hopeless, RecursionError):
            return None
        if len(text) >= least:
            return text
    return text


class _Hopeless(Exception):
    """The pattern uses what cannot be made up."""


def _sequence(tree: Any, extra: int) -> str:
    text = ""
    for operation, argument in tree:
        text += _one(str(operation), argument, extra)
        if len(text) > _MAX_LENGTH:
            raise _Hopeless
    return text


def _one(operation: str, argument: Any, extra: int) -> str:  # noqa: C901, PLR0911 (a case each)
    if operation == "LITERAL":
        return chr(argument)
    if operation in {"AT", "ASSERT_NOT"}:
        return ""
    if operation == "ANY":
        return "a"
    if operation == "NOT_LITERAL":
        return "b" if argument == ord("a") else "a"
    if operation == "IN":
        return _of_set(argument)
    if operation == "BRANCH":
        return _sequence(argument[1][0], extra)
    if operation == "SUBPATTERN":
        return _sequence(argument[3], extra)
    if operation == "ATOMIC_GROUP":
        return _sequence(argument, extra)
    if operation in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
        least, most, inner = argument
        times: int = min(
            max(least, min(extra, 200)), most if most is not _constants.MAXREPEAT else 200
        )
        if times * max(1, len(inner)) > _MAX_LENGTH:
            raise _Hopeless
        return _sequence(inner, 0) * times
    raise _Hopeless


def _of_set(items: Any) -> str:
    first, rest = items[0], items
    if str(first[0]) == "NEGATE":
        rest = items[1:]
        for letter in _CANDIDATES:
            if not any(_covers(item, letter) for item in rest):
                return letter
        raise _Hopeless
    kind, argument = str(first[0]), first[1]
    if kind == "LITERAL":
        return chr(argument)
    if kind == "RANGE":
        return chr(argument[0])
    return _CATEGORY.get(str(argument), "a")


def _covers(item: Any, letter: str) -> bool:
    kind, argument = str(item[0]), item[1]
    if kind == "LITERAL":
        return chr(argument) == letter
    if kind == "RANGE":
        return bool(argument[0] <= ord(letter) <= argument[1])
    classes = {"CATEGORY_DIGIT": r"\d", "CATEGORY_WORD": r"\w", "CATEGORY_SPACE": r"\s"}
    name = str(argument)
    if name in classes:
        return re.fullmatch(classes[name], letter) is not None
    return not _covers((kind, name.replace("NOT_", "")), letter)
