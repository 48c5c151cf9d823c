"""From bound arguments to one HTTP request, exactly as the pack says."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from integrations.accounts import Credentials
from integrations.arguments import refusal
from integrations.encoding import BadValue, encoded, text
from integrations.failure import NOT_SENT, CallFailed
from integrations.function import Function
from integrations.mapping import MissingCredential, mapped
from integrations.pack import Pack
from integrations.pack_wire import BasicAuth, BearerAuth, NoAuth, QueryAuth, Request
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
    url: str = field(repr=False)
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
    except BadValue as bad:
        raise refusal(function, str(bad)) from None
    return build_parts(function, pack, parts, credentials, headers=headers, wire=request)


def build_parts(  # noqa: PLR0913 (one request, all named)
    function: Function,
    pack: Pack,
    parts: RequestParts,
    credentials: Credentials,
    *,
    headers: Mapping[str, Any] | None = None,
    wire: Request | None = None,
) -> VendorRequest:
    """
    Make a request of parts; `headers` None takes those of the pack, `wire` None sends JSON.

    Raises:
        CallFailed: as `build` does.
    """
    try:
        given = mapped(pack.headers, {}, credentials) if headers is None else headers
        path = _PLACEHOLDER.sub(
            lambda found: _segment(function, found, parts.values, credentials), parts.path
        )
        body, content_type = encoded(
            parts.body, wire.encoding if wire else "json", wire.content_type if wire else None
        )
    except MissingCredential as missing:
        raise _incomplete(function, credentials, missing.field) from None
    except BadValue as bad:
        raise refusal(function, str(bad)) from None
    pairs = [*_pairs(parts.query), *_secret_pairs(pack, credentials)]
    query = urlencode(pairs, quote_via=quote, safe="")
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
    if isinstance(auth, NoAuth | QueryAuth):
        return {}
    if isinstance(auth, BasicAuth):
        user, password = credentials.reveal(auth.username), credentials.reveal(auth.password)
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": Secret(f"Basic {pair}")}
    if isinstance(auth, BearerAuth):
        return {"Authorization": Secret(f"Bearer {credentials.reveal(auth.token)}")}
    return {auth.header: Secret(f"{auth.prefix}{credentials.reveal(auth.value)}")}


def _secret_pairs(pack: Pack, credentials: Credentials) -> list[tuple[str, str]]:
    auth = pack.auth
    if isinstance(auth, QueryAuth):
        return [(auth.parameter, credentials.reveal(auth.value))]
    return []


def _incomplete(function: Function, credentials: Credentials, name: str) -> CallFailed:
    return CallFailed(
        "incomplete_account",
        f"{function.full_name}: the account `{credentials.account}` has no `{name}`, which this"
        f" function needs; {NOT_SENT}",
    )


def _body(request: Request, arguments: Mapping[str, Any], credentials: Credentials) -> Any:
    body: Any = None if request.body is None else mapped(request.body, arguments, credentials)
    if request.body_from is not None:
        base = arguments.get(request.body_from)
        if not request.body:
            body = base
        elif isinstance(base, dict):
            body = {**base, **body}
    return None if request.skip_empty_body and body == {} else body


def _pairs(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    for key, value in query.items():
        many = value if isinstance(value, list) else [value]
        pairs += [(key, text(one)) for one in many]
    return pairs


def _split_headers(
    function: Function, values: Mapping[str, Any], credentials: Credentials
) -> tuple[dict[str, str], dict[str, Secret]]:
    plain: dict[str, str] = {}
    secret: dict[str, Secret] = {}
    hidden = set(credentials.secrets())
    for name, value in values.items():
        shown = text(value)
        if not _HEADER_TEXT.fullmatch(shown):
            raise refusal(
                function, f"the value for the header {name} must be short printable ASCII text"
            )
        if shown in hidden:
            secret[name] = Secret(shown)
        else:
            plain[name] = shown
    return plain, secret


def _segment(
    function: Function, found: re.Match[str], values: Mapping[str, Any], credentials: Credentials
) -> str:
    name = found[2]
    if found[1]:
        if name not in credentials.values:
            raise MissingCredential(name)
        segment = credentials.reveal(name)
    else:
        segment = text(values[name])
    if segment in {"", ".", ".."} or _UNSAFE_SEGMENT.search(segment):
        raise refusal(
            function,
            f"{name} must be an ID: not empty, not `.` or `..`,"
            " without slashes, backslashes and control characters",
        )
    return quote(segment, safe="")
