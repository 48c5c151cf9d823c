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
from integrations.failure import NOT_SENT, CallFailed
from integrations.function import Function
from integrations.mapping import MissingCredential, mapped
from integrations.pack import Pack
from integrations.pack_wire import BasicAuth, BearerAuth, NoAuth, Request
from integrations.request_parts import RequestParts
from integrations.secret import Secret

_PLACEHOLDER = re.compile(r"\{(credentials\.)?([a-z0-9_]+)\}")
_UNSAFE_SEGMENT = re.compile(r"[/\\\x00-\x1f\x7f]")
_HEADER_TEXT = re.compile(r"[\x20-\x7e]{0,4096}")


@dataclass(frozen=True, slots=True)
class VendorRequest:
    """
    One request, ready to send. `url` is absolute and percent-encoded; `body` is bytes or None.

    `secret_headers` hold credentials and are not shown. `local` tells that the operator sends
    this account to this machine itself, where otherwise no request may go.
    """

    method: str
    url: str
    secret_headers: Mapping[str, Secret] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    local: bool = False


def build(
    function: Function, pack: Pack, arguments: Mapping[str, Any], credentials: Credentials
) -> VendorRequest:
    """
    Make the request of a function.

    Raises:
        CallFailed: `invalid_arguments`: a value cannot stand in the path or a header;
            `incomplete_account`: the account has no value for a field the request needs.
    """
    request = function.spec.request if function.spec else None
    if request is None:
        raise TypeError(f"{function.full_name} has no request")
    try:
        parts = RequestParts(
            request.method,
            request.path,
            arguments,
            mapped(request.query, arguments, credentials),
            _body(request, arguments, credentials),
        )
        headers = mapped({**pack.headers, **request.headers}, arguments, credentials)
    except MissingCredential as missing:
        raise _incomplete(function, credentials, missing.field) from None
    return build_parts(
        function, pack, parts, credentials, headers=headers, form=request.encoding == "form"
    )


def build_parts(  # noqa: PLR0913 (one request, all named)
    function: Function,
    pack: Pack,
    parts: RequestParts,
    credentials: Credentials,
    *,
    headers: Mapping[str, Any] | None = None,
    form: bool = False,
) -> VendorRequest:
    """
    Make a request of parts; `headers` None takes those of the pack.

    Raises:
        CallFailed: as `build` does.
    """
    try:
        given = mapped(pack.headers, {}, credentials) if headers is None else headers
        path = _PLACEHOLDER.sub(
            lambda found: _segment(function, found, parts.values, credentials), parts.path
        )
    except MissingCredential as missing:
        raise _incomplete(function, credentials, missing.field) from None
    query = urlencode(_pairs(parts.query), quote_via=quote, safe="")
    body, content_type = _encoded(parts.body, form=form)
    plain, secret = _split_headers(function, given, credentials)
    return VendorRequest(
        method=parts.method,
        url=credentials.base_url(pack.host) + path + (f"?{query}" if query else ""),
        secret_headers={**secret, **auth_headers(pack, credentials)},
        body=body,
        headers={**plain, **content_type},
        local=credentials.is_local(pack.host),
    )


def auth_headers(pack: Pack, credentials: Credentials) -> dict[str, Secret]:
    """Give the headers that show who asks."""
    auth = pack.auth
    if isinstance(auth, NoAuth):
        return {}
    if isinstance(auth, BasicAuth):
        user, password = credentials.reveal(auth.username), credentials.reveal(auth.password)
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": Secret(f"Basic {pair}")}
    if isinstance(auth, BearerAuth):
        return {"Authorization": Secret(f"Bearer {credentials.reveal(auth.token)}")}
    return {auth.header: Secret(f"{auth.prefix}{credentials.reveal(auth.value)}")}


def _incomplete(function: Function, credentials: Credentials, name: str) -> CallFailed:
    return CallFailed(
        "incomplete_account",
        f"{function.full_name}: the account `{credentials.account}` has no `{name}`, which this"
        f" function needs; {NOT_SENT}",
    )


def _body(request: Request, arguments: Mapping[str, Any], credentials: Credentials) -> Any:
    if request.body_from is None:
        return None if request.body is None else mapped(request.body, arguments, credentials)
    base = arguments.get(request.body_from)
    if not request.body:
        return base
    over = mapped(request.body, arguments, credentials)
    return {**base, **over} if isinstance(base, dict) else over


def _encoded(body: Any, *, form: bool) -> tuple[bytes | None, dict[str, str]]:
    if body is None:
        return None, {}
    if form:
        pairs = [pair for key, value in body.items() for pair in _flat(key, value)]
        return urlencode(pairs).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    return orjson.dumps(body), {"Content-Type": "application/json"}


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    """Give an entry of a form: `a[b]=1` for what is inside objects, `a[0]=1` inside lists."""
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = {str(index): one for index, one in enumerate(value)}.items()
    else:
        return [(key, _text(value))]
    return [pair for name, one in inside for pair in _flat(f"{key}[{name}]", one)]


def _pairs(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    for key, value in query.items():
        many = value if isinstance(value, list) else [value]
        pairs += [(key, _text(one)) for one in many]
    return pairs


def _split_headers(
    function: Function, values: Mapping[str, Any], credentials: Credentials
) -> tuple[dict[str, str], dict[str, Secret]]:
    plain: dict[str, str] = {}
    secret: dict[str, Secret] = {}
    hidden = set(credentials.secrets())
    for name, value in values.items():
        text = _text(value)
        if not _HEADER_TEXT.fullmatch(text):
            raise refusal(
                function, f"the value for the header {name} must be short printable ASCII text"
            )
        if text in hidden:
            secret[name] = Secret(text)
        else:
            plain[name] = text
    return plain, secret


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _segment(
    function: Function, found: re.Match[str], values: Mapping[str, Any], credentials: Credentials
) -> str:
    name = found[2]
    if found[1]:
        if name not in credentials.values:
            raise MissingCredential(name)
        text = credentials.reveal(name)
    else:
        text = _text(values[name])
    if text in {"", ".", ".."} or _UNSAFE_SEGMENT.search(text):
        raise refusal(
            function,
            f"{name} must be an ID: not empty, not `.` or `..`,"
            " without slashes, backslashes and control characters",
        )
    return quote(text, safe="")
