"""Where two JSON values differ."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

MAX_CHANGES = 50
_MISSING = object()


def changes(was: Any, now: Any, most: int = MAX_CHANGES) -> list[dict[str, Any]]:
    """
    Give the first `most` differences, in order, each `{"pointer", "was", "now"}`.

    A value that is not there is left out: `was` of what was added, `now` of what was taken away.
    """
    found = []
    for pointer, before, after in islice(_differences(was, now), most):
        change: dict[str, Any] = {"pointer": pointer}
        if before is not _MISSING:
            change["was"] = before
        if after is not _MISSING:
            change["now"] = after
        found.append(change)
    return found


def _differences(was: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    # A stack and no recursion: the values are as deep as scripts may make them.
    left = [("", was, now)]
    while left:
        pointer, before, after = left.pop()
        if isinstance(before, dict) and isinstance(after, dict):
            names = [*before, *(name for name in after if name not in before)]
            left += [
                (f"{pointer}/{_part(name)}", before.get(name, _MISSING), after.get(name, _MISSING))
                for name in reversed(names)
            ]
        elif isinstance(before, list) and isinstance(after, list):
            left += [
                (f"{pointer}/{at}", _at(before, at), _at(after, at))
                for at in reversed(range(max(len(before), len(after))))
            ]
        elif type(before) is not type(after) or before != after:
            yield pointer, before, after


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else _MISSING


def _part(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
