"""From a vendor's body to the value a script sees: the same, with what the pack adds."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from integrations.pack_wire import Response, Rows


def shaped(value: Any, response: Response) -> Any:
    """Give the value with the columns the pack adds to its rows; the given value is changed."""
    if response.rows is not None:
        _add_columns(value, response.rows)
    return value


def read_body(body: bytes, content: str) -> Any:
    """
    Give the JSON value of a body that is `json`, `text` or, as `base64`, any bytes.

    Raises:
        ValueError: it is not what it should be.
    """
    if content == "base64":
        return base64.b64encode(body).decode()
    if content == "text":
        return body.decode("utf-8")
    return orjson.loads(body) if body.strip() else None


def at(value: Any, pointer: str) -> Any:
    """Give what stands at a place of a JSON value (`error.type`), or None; `*` is every entry."""
    key, _, rest = pointer.partition(".")
    if key == "*":
        found = [at(one, rest) if rest else one for one in value] if isinstance(value, list) else []
        return [one for one in found if one is not None] or None
    if not isinstance(value, dict):
        return None
    return at(value.get(key), rest) if rest else value.get(key)


def _add_columns(value: Any, rows: Rows) -> None:
    found = at(value, rows.at)
    for row in found if isinstance(found, list) else ():
        if not isinstance(row, dict):
            continue
        for name, column in rows.add.items():
            if row.get(name) is None:
                values = (row.get(key) for key in column.first)
                row[name] = _plain(next((v for v in values if v is not None), column.default))


def _plain(value: Any) -> Any:
    """Give 3 for 3.0: a count reads as one, however the vendor writes its numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
