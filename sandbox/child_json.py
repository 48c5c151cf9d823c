"""
JSON from the child: only what everybody after us can read and write.

Runs in: supervisor. Trusts: nobody. Refuses: what is no JSON, numbers beyond 64 bits or without
end, halves of characters, nesting deeper than told. May import: stdlib.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from sandbox.wire import WireError

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKET = bytes(byte for byte in range(256) if byte not in b"[]{}")
_LONGEST_INTEGER = len("-9223372036854775808")


def parse(text: bytes, depth: int) -> Any:
    """
    Parse JSON text that is nested at most `depth` levels.

    Raises:
        WireError: the text is not such JSON. What it says is not repeated.
    """
    try:
        _check_depth(text, depth)
        value = json.loads(
            text.decode(), parse_constant=_refuse, parse_float=_finite, parse_int=_integer
        )
        if b"\\u" in text:
            # Python reads half of a surrogate pair and can write it nowhere.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as problem:
        raise WireError(f"malformed JSON: {type(problem).__name__}") from None
    return value


def _check_depth(text: bytes, depth: int) -> None:
    if text.count(b"[") + text.count(b"{") <= depth:
        return
    level = 0
    for bracket in _STRING.sub(b"", text).translate(None, _NO_BRACKET):
        level += 1 if bracket in b"[{" else -1
        if level > depth:
            raise ValueError("too deep")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError("too long")
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError("beyond 64 bits")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
