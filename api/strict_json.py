"""
Reading a JSON body strictly: what two readers could understand differently is refused.

Python's own reader takes NaN, lone surrogates and repeated names; a fast one turns integers
beyond 64 bits into floats. Lua has 64-bit integers, so such a number would arrive changed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson
from fastapi import Request

from api.problems import (
    MAX_ERRORS,
    FieldError,
    InvalidFields,
    InvalidJson,
    RequestTimeout,
    UnsupportedMediaType,
)
from core.errors import TooLarge
from sandbox.limits import KIB, SPECS

#: Script and input at their largest and room for the rest. Three times, because many clients
#: escape what is not ASCII: two bytes of Greek or Arabic become the six of `\\u03b1`.
MAX_BODY_BYTES = 3 * (SPECS["script_bytes"].maximum + SPECS["input_bytes"].maximum) + 64 * KIB
MAX_DEPTH = SPECS["depth"].maximum + 2  # the body's own object stands around the input

_READ_S = 30.0
_DRAIN_BYTES = 4 * MAX_BODY_BYTES
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_INT64 = range(-(2**63), 2**63)


async def read_body(request: Request) -> bytes:
    """
    Read the body of a request that must say that it is JSON.

    Raises:
        UnsupportedMediaType: it does not say that it is JSON, or is compressed.
        TooLarge: more than `MAX_BODY_BYTES`.
        RequestTimeout: it did not arrive within 30 s.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(
            "the body must be JSON",
            hint="send Content-Type: application/json",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType(
            "the body must not be compressed", hint="send it without Content-Encoding"
        )
    body = await read_raw(request, MAX_BODY_BYTES)
    request.state.body = body  # what a request that is sent again is compared by
    return body


async def read_raw(request: Request, most: int, *, within_s: float | None = None) -> bytes:
    """
    Read a body of any type, byte for byte.

    Raises:
        TooLarge: more than `most` bytes.
        RequestTimeout: it did not arrive within `within_s` seconds, 30 unless told.
    """
    within_s = within_s or _READ_S
    try:
        async with asyncio.timeout(within_s):
            return await _read(request, most)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {within_s:.0f} s") from None


def parse(body: bytes) -> Any:
    """
    Parse one JSON document.

    Raises:
        InvalidJson: not JSON, not UTF-8, a name twice in one object, or nested too deeply.
        InvalidFields: an integer that does not fit 64 bits, with its pointer.
    """
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"{error.msg}: line {error.lineno} column {error.colno}") from None
    try:
        value = json.loads(body, object_pairs_hook=_no_name_twice)
    except RecursionError:
        raise _too_deep() from None
    _check_depth(value)
    if _LONG_NUMBER.search(body):
        wrong = [
            FieldError(pointer=pointer, detail="the integer does not fit 64 bits; send it as text")
            for pointer in islice(_long_integers(value, ""), MAX_ERRORS)
        ]
        if wrong:
            raise InvalidFields(wrong)
    return value


def pointer_to(*parts: str | int) -> str:
    """Give the JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


async def _read(request: Request, most: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            chunks.append(chunk)
        elif size > _DRAIN_BYTES:
            break
    # A little too much is read to its end and thrown away: a client that is still sending when
    # the connection closes sees a reset, not our answer.
    if size > most:
        raise TooLarge(f"the body has more than the {most} bytes allowed")
    return b"".join(chunks)


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidJson(f"the name {name[:60]!a} stands twice in one object")
    return made


def _too_deep() -> InvalidJson:
    return InvalidJson(f"the body is nested deeper than {MAX_DEPTH} levels")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for outer in level
            if isinstance(outer, (dict, list))
            for child in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise _too_deep()


def _long_integers(value: Any, pointer: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _long_integers(child, pointer + pointer_to(name))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _long_integers(child, f"{pointer}/{index}")
    elif isinstance(value, int) and value not in _INT64:
        yield pointer
