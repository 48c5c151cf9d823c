"""From bound arguments to one HTTP request, exactly as the pack says."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from integrations.accounts import Credentials
from integrations.arguments import refusal
from integrations.function import Function
from integrations.pack import Pack, Request, Source
from integrations.secret import Secret

_PLACEHOLDER = re.compile(r"\{([a-z0-9_]+)\}")
_UNSAFE_SEGMENT = re.compile(r"[/\\\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class VendorRequest:
    """
    One request, ready to send. `authorization` is the header's value; it is not shown.

    `url` is absolute and fully percent-encoded; `body` is JSON text or None.
    """

    method: str
    url: str
    authorization: Secret
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def build(
    function: Function, pack: Pack, arguments: Mapping[str, Any], credentials: Credentials
) -> VendorRequest:
    """
    Make the request of a function.

    Raises:
        CallFailed: `invalid_arguments`: a value cannot stand in the path.
    """
    if function.spec is None:
        raise TypeError(f"{function.full_name} has no request")
    request = function.spec.request
    path = _PLACEHOLDER.sub(
        lambda found: _segment(function, found[1], arguments[found[1]]), request.path
    )
    query = urlencode(_query(request, arguments), quote_via=quote, safe="")
    url = credentials.base_url(pack.host) + path + (f"?{query}" if query else "")
    body = None if request.body is None else orjson.dumps(mapped(request.body, arguments))
    return VendorRequest(
        method=request.method,
        url=url,
        authorization=_basic(pack, credentials),
        body=body,
        headers={} if body is None else {"Content-Type": "application/json"},
    )


def mapped(sources: Mapping[str, Source], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give the values of all sources that have one, by the key they go under."""
    result = {}
    for key, source in sources.items():
        if source.unless is not None and source.unless in arguments:
            continue
        if source.take is None:
            result[key] = source.value
        elif source.take in arguments:
            result[key] = _transformed(source, arguments[source.take])
    return result


def _transformed(source: Source, value: Any) -> Any:
    if source.as_list and not isinstance(value, list):
        value = [value]
    if source.item_key is not None:
        items = value if isinstance(value, list) else [value]
        value = [one if isinstance(one, dict) else {source.item_key: one} for one in items]
    if source.inner and isinstance(value, dict):
        value = _inner(source.inner, value)
    return value + source.add if source.add else value


def _inner(sources: Mapping[str, Source], value: Mapping[str, Any]) -> dict[str, Any]:
    """Map keys inside an object. A key given under its new name wins over its old one."""
    renamed = dict(value)
    for key, source in sources.items():
        old = renamed.pop(source.take, None) if source.take else source.value
        given = renamed.get(key, old)
        if given is not None:
            renamed[key] = _transformed(source, given)
    return renamed


def _query(request: Request, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    for key, value in mapped(request.query, arguments).items():
        many = value if isinstance(value, list) else [value]
        pairs += [(key, _text(one)) for one in many]
    return pairs


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _segment(function: Function, name: str, value: Any) -> str:
    text = _text(value)
    if text in {"", ".", ".."} or _UNSAFE_SEGMENT.search(text):
        raise refusal(
            function,
            f"{name} must be an ID: not empty, not `.` or `..`,"
            " without slashes, backslashes and control characters",
        )
    return quote(text, safe="")


def _basic(pack: Pack, credentials: Credentials) -> Secret:
    user = credentials.reveal(pack.auth.username)
    password = credentials.reveal(pack.auth.password)
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Secret(f"Basic {pair}")
