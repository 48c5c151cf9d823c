"""
What the body of an event is to a script: JSON, the fields of a form, or text.

Pure. It is read only after its signature was checked. What can be read in two ways is not read as
JSON: it stays the text it is.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from core.errors import Invalid

_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 1_000
_INT64 = range(-(2**63), 2**63)
_INT64_CHARS = 20


@dataclass(frozen=True, slots=True)
class EventBody:
    """`data` is what was read, and `text` the body where it is neither JSON nor a form."""

    data: Any = None
    text: str | None = None


def read_event(body: bytes, content_type: str) -> EventBody:
    """
    Read a body.

    Raises:
        Invalid: it is neither JSON, a form nor UTF-8 text.
    """
    form = content_type.partition(";")[0].strip().lower() == _FORM
    with suppress(ValueError):
        data = _json(body)
        # Senders that say nothing of a type send this one, and a form is no JSON object.
        if not form or isinstance(data, (dict, list)):
            return EventBody(data)
    if form:
        return EventBody(_fields(body))
    try:
        return EventBody(text=body.decode())
    except UnicodeDecodeError:
        raise Invalid("the body is neither JSON, a form nor UTF-8 text") from None


def _json(body: bytes) -> Any:
    orjson.loads(body)  # refuses NaN, lone surrogates, and other encodings than UTF-8
    try:
        return json.loads(body, object_pairs_hook=_named_once, parse_int=_fitting)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name twice")
    return made


def _fitting(text: str) -> int:
    if len(text) <= _INT64_CHARS and int(text) in _INT64:
        return int(text)
    raise ValueError("an integer beyond 64 bits")


def _fields(body: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise Invalid(f"the form cannot be read, or has more than {_MAX_FIELDS} fields") from None
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    if isinstance(found.get("payload"), str):
        # GitHub and Slack put JSON into this field of a form.
        with suppress(ValueError):
            found["payload"] = _json(found["payload"].encode())
    return found
