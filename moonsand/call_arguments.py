"""
The arguments of one call as a command line gives them: JSON, `--arg NAME=VALUE`, or flags.

`--workspace-slug x` and `--workspace-slug=x` set `workspace_slug`. JSON counts first, the rest
replaces what it says.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Container, Iterator, Sequence
from typing import Any

import orjson

from moonsand.exits import UsageFault

_MAX_BYTES = 1 << 20


def arguments_of(
    words: Sequence[str], pairs: Sequence[str], texts: Container[str] = ()
) -> dict[str, Any]:
    """
    Give the arguments; `words` are what no option of ours took, `pairs` those of `--arg`.

    Without JSON among the words, JSON that is piped in counts. A value is JSON, else text; that
    of a parameter in `texts` is text always, so that an id of digits stays one.

    Raises:
        UsageFault: malformed JSON, a word that belongs to nothing, a flag without a value.
    """
    rest = list(words)
    text = rest.pop(0) if rest and not rest[0].startswith("--") else None
    piped = text is None and _is_piped()
    if text == "-" or piped:
        text = _read_stdin()
    given = _object(text, piped=piped)
    for name, value in [*_flags(rest), *map(_pair, pairs)]:
        given[name] = value if name in texts else _value(value)
    _check_sendable(given)
    return given


def _read_stdin() -> str:
    raw = sys.stdin.buffer.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise UsageFault(f"the arguments have more than {_MAX_BYTES} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UsageFault(f"stdin is not UTF-8 text: byte {error.start + 1}") from None


def _check_sendable(given: dict[str, Any]) -> None:
    """Refuse what Python's JSON takes and JSON has not: NaN, halves of characters, huge numbers."""
    try:
        orjson.dumps(given)
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageFault(f"the arguments: no JSON that can be sent: {error}") from None


def _is_piped() -> bool:
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _object(text: str | None, *, piped: bool) -> dict[str, Any]:
    if text is not None and len(text) > _MAX_BYTES:
        raise UsageFault(f"the arguments have more than {_MAX_BYTES} bytes")
    where = "what is piped in" if piped else "the arguments"
    hint = "; without arguments there, say </dev/null" if piped else ""
    try:
        given = json.loads(text) if text and text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{where}: not JSON: {error}{hint}") from None
    if not isinstance(given, dict):
        raise UsageFault(f"{where}: must be a JSON object{hint}")
    return given


def _flags(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        if not word.startswith("--") or word == "--":
            raise UsageFault(f"{ascii(word)[:80]} belongs to nothing; flags are --name VALUE,"
                             " or give one JSON object")  # fmt: skip
        name, equals, value = word[2:].partition("=")
        if not equals:
            following = next(rest, None)
            if following is None:
                raise UsageFault(f"--{name[:80]} needs a value")
            value = following
        yield name.replace("-", "_"), value


def _pair(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals or not name:
        raise UsageFault("--arg takes NAME=VALUE")
    return name, value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
