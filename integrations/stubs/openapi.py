"""
A stand-in of any API that an OpenAPI document describes.

It checks what the document says: method and path, who asks, required parameters, the types of
all, the body. It answers the document's example, or a value made of the answer's schema.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from integrations.openapi.answers import success
from integrations.openapi.auth import plan_auth
from integrations.openapi.contents import encoding_of
from integrations.openapi.model import Operation, Parameter
from integrations.openapi.operations import Reader
from integrations.openapi.reading import Document
from integrations.openapi.refs import Refs
from integrations.openapi.samples import sample
from integrations.openapi.schemas import Schemas
from integrations.pack_wire import OUR_HEADERS
from integrations.stubs.openapi_checks import Checks
from integrations.stubs.openapi_values import MISSING, body_value, query_value, simple_value

_PLACEHOLDER = re.compile(r"\{[^{}/]+\}")
_ELSEWHERE = OUR_HEADERS | {"accept", "content-type", "authorization"}


class _Refused(Exception):
    """What a request has wrong, with the status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Route:
    operation: Operation
    pattern: re.Pattern[str]
    names: tuple[str, ...]
    constants: Mapping[str, str]

    @property
    def rank(self) -> tuple[int, int, int]:
        """Sort fixed text before placeholders."""
        return -len(self.constants), len(self.names), -len(self.operation.path)


class OpenApiStub:
    """
    Serves one document.

    `auth` and `base_path` are what the import was told instead of the document's own.
    """

    def __init__(
        self, document: Document, *, auth: str | None = None, base_path: str | None = None
    ) -> None:
        refs = Refs(document.root)
        reader = Reader(document, refs, base_path)
        operations = [reader.operation(*place) for place in reader.places()]
        self._routes = sorted(map(_route, operations), key=lambda one: one.rank)
        self._plan = plan_auth(document, refs, operations, auth)
        self._schemas = Schemas(refs, document.dialect)
        self._replies = Schemas(refs, document.dialect, reply=True)
        self._checks = Checks(document)
        self._keys = {name: f"stub-{name}-000001" for name in self._plan.credentials}
        #: `METHOD /path` of every operation that was answered with success.
        self.answered: list[str] = []

    @property
    def app(self) -> ASGIApp:
        """The application that answers as the document says."""
        return self._serve

    def accounts(self, url: str) -> Mapping[str, Mapping[str, str]]:
        """Give the credential fields of its account, when it is served at `url`."""
        return {"default": {**self._keys, "base_url": url}}

    def reset(self) -> None:
        """Forget what was answered."""
        self.answered.clear()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = self._answer(request, await request.body())
        except _Refused as refused:
            body = {"error": {"code": f"stub_{refused.status}", "message": str(refused)}}
            answer = _json(body, refused.status)
        await answer(scope, receive, send)

    def _answer(self, request: Request, raw: bytes) -> Response:
        pairs = parse_qsl(request.scope["query_string"].decode(), keep_blank_values=True)
        route, found = self._find(request, dict(pairs))
        self._check_auth(request, dict(pairs))
        in_path = dict(zip(route.names, map(unquote, found.groups()), strict=True))
        for one in route.operation.parameters:
            self._check_parameter(one, self._given(one, request, pairs, in_path))
        self._check_body(route.operation, request, raw)
        self.answered.append(route.operation.place)
        return self._success(route.operation)

    def _find(self, request: Request, query: Mapping[str, str]) -> tuple[_Route, re.Match[str]]:
        path = request.scope["raw_path"].decode()
        other = False
        for route in self._routes:
            found = route.pattern.fullmatch(path)
            if found and route.constants.items() <= query.items():
                if route.operation.method == request.method:
                    return route, found
                other = True
        raise _Refused(405 if other else 404, f"no operation {request.method} {path[:100]}")

    def _check_auth(self, request: Request, query: Mapping[str, str]) -> None:
        auth, keys, headers = self._plan.auth, self._keys, request.headers
        wanted: list[tuple[str | None, str]] = [
            (headers.get(name), keys[source["credential"]])
            for name, source in self._plan.headers.items()
        ]
        wanted += [(query.get(name), keys[one["credential"]])
                   for name, one in self._plan.query.items()]  # fmt: skip
        match auth["scheme"]:
            case "basic":
                pair = base64.b64encode(f"{keys['username']}:{keys['password']}".encode()).decode()
                wanted.append((headers.get("authorization"), f"Basic {pair}"))
            case "bearer":
                wanted.append((headers.get("authorization"), f"Bearer {keys['token']}"))
            case "header":
                key = f"{auth.get('prefix', '')}{keys[auth['value']]}"
                wanted.append((headers.get(auth["header"]), key))
            case "query":
                wanted.append((query.get(auth["parameter"]), keys[auth["value"]]))
        if any(given != right for given, right in wanted):
            raise _Refused(401, "credentials are missing or wrong")

    def _given(
        self, one: Parameter, request: Request, pairs: list[tuple[str, str]],
        in_path: Mapping[str, str],
    ) -> Any:  # fmt: skip
        if one.where == "query":
            if one.name in self._plan.query_names:
                return None
            return query_value(one, pairs, self._schemas)
        if one.where == "path":
            text = in_path.get(one.name)
            return None if text is None else simple_value(one, text, self._schemas)
        lower = one.name.lower()
        if one.where == "cookie" or lower in _ELSEWHERE | self._plan.header_names:
            return None
        text = request.headers.get(one.name)
        return MISSING if text is None else simple_value(one, text, self._schemas)

    def _check_parameter(self, one: Parameter, value: Any) -> None:
        if value is None:
            return
        if value is MISSING:
            if one.required:
                raise _Refused(400, f"{one.where} parameter {one.name} is missing")
            return
        if problem := self._checks.problem(one.schema, value):
            raise _Refused(400, f"{one.where} parameter {one.name}: {problem}")

    def _check_body(self, operation: Operation, request: Request, raw: bytes) -> None:
        body = operation.body
        if body is None:
            if raw:
                raise _Refused(400, "this operation takes no body")
            return
        if not raw:
            if body.required:
                raise _Refused(400, "the body is missing")
            return
        kind = request.headers.get("content-type", "")
        if encoding_of(kind) != body.encoding:
            raise _Refused(415, f"the body must be {body.content_type}, not {kind[:60]}")
        try:
            value = body_value(body, kind, raw, self._schemas)
        except (ValueError, UnicodeDecodeError):
            raise _Refused(400, f"the body is not {body.content_type}") from None
        if body.encoding != "base64" and (problem := self._checks.problem(body.schema, value)):
            raise _Refused(422, f"body: {problem}")

    def _success(self, operation: Operation) -> Response:
        answer = success(operation)
        status = int(answer.status) if answer and answer.status.isdecimal() else 200
        if answer is None or not answer.content_type or status in {204, 205}:
            return Response(status_code=status)
        encoding = encoding_of(answer.content_type)
        if encoding == "json":
            value = answer.example
            if value is None:
                value = sample(self._replies.written(answer.schema or {"type": "object"}))
            return _json(value, status)
        text = answer.example if isinstance(answer.example, str) else "text"
        return Response(text, status, media_type=answer.content_type)


def _route(operation: Operation) -> _Route:
    plain = re.sub(r"\{[?&][^{}]*\}", "", operation.path).partition("#")[0]
    static, _, tail = plain.partition("?")
    declared = {one.name: one for one in operation.parameters if one.where == "path"}
    names: list[str] = []
    pattern = ""
    last = 0
    for found in _PLACEHOLDER.finditer(static):
        key = found[0][1:-1]
        key = key if key in declared else key.strip("+*;.?")
        pattern += _fixed(static[last : found.start()]) + "([^/]+?)"
        names.append(key)
        last = found.end()
    pattern += _fixed(static[last:])
    return _Route(operation, re.compile(pattern), tuple(names), dict(parse_qsl(tail)))


def _fixed(text: str) -> str:
    """Give a pattern for fixed text, whether or not it arrives percent-encoded."""
    one_by_one = [
        rf"(?:{re.escape(letter)}|{''.join(f'%{byte:02X}' for byte in letter.encode())})"
        if not (letter.isascii() and letter.isalnum()) and letter != "/"
        else letter
        for letter in unquote(text)
    ]
    return "".join(one_by_one)


def _json(value: Any, status: int) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
