"""HeyGen's HTTP API, version 3, on this machine: paths, key, cursor pages, errors."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from integrations.stubs.heygen_body import problem, speakers_of
from integrations.stubs.heygen_data import Workspace, workspace

#: API key of each account the stub knows; each has its own workspace.
ACCOUNTS: dict[str, str] = {
    name: f"stub-heygen-{name}-key" for name in ("default", "work", "personal")
}
_PAGING = frozenset({"limit", "token"})


class HeyGenRefused(Exception):
    """An answer with an error body."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(code)
        error = {"code": code, "message": message, "param": param, "doc_url": None}
        self.response = _json({"error": error}, status)


class HeyGenStub:
    """
    The application.

    `requests_per_s`, when not None, answers 429 beyond that many requests in one second; with
    `credit` False there is none left for another video. It is stricter than HeyGen in one way:
    a parameter of a query that HeyGen does not have is refused, not ignored.
    """

    def __init__(self) -> None:
        self.reset()
        self.app = Starlette(
            routes=[
                self._route("GET", "/v3/videos", self._list_videos),
                self._route("POST", "/v3/videos", self._create_video),
                self._route("GET", "/v3/videos/{id}", self._get_video),
                self._route("GET", "/v3/avatars/looks", self._list_looks),
                self._route("GET", "/v3/voices", self._list_voices),
                self._route("GET", "/v3/users/me", self._me),
                self._route("GET", "/v3/templates", self._list_templates),
            ],
            exception_handlers={404: _no_route, 405: _no_route},
        )

    def accounts(self, url: str) -> Mapping[str, Mapping[str, str]]:
        """Give the credential fields of every account it knows, when it is served at `url`."""
        return {name: {"api_key": key, "base_url": url} for name, key in ACCOUNTS.items()}

    def reset(self) -> None:
        """Forget what was created, lift the rate limit and fill the purse."""
        self.workspaces = {name: workspace(name) for name in ACCOUNTS}
        self.requests_per_s: int | None = None
        self.credit = True
        self._recent: list[float] = []
        self._answered = 0

    def _route(
        self, method: str, path: str, answer: Callable[[Workspace, Request, bytes], Response]
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                home = self._authenticate(request)
                self._limit()
                response = answer(home, request, await request.body())
            except HeyGenRefused as refused:
                response = refused.response
            self._answered += 1
            response.headers["x-request-id"] = f"heygen-{self._answered:04d}"
            return response

        # Starlette adds HEAD to GET; HeyGen does not answer it.
        route = Route(path, endpoint, methods=[method], name=f"{method} {path}")
        route.methods = {method}
        return route

    def _authenticate(self, request: Request) -> Workspace:
        given = request.headers.get("x-api-key", "").encode()
        for name, key in ACCOUNTS.items():
            if secrets.compare_digest(given, key.encode()):
                return self.workspaces[name]
        # A missing key and a wrong one look alike.
        raise HeyGenRefused(401, "unauthorized", "Unauthorized")

    def _limit(self) -> None:
        if self.requests_per_s is None:
            return
        now = time.monotonic()
        self._recent = [one for one in self._recent if one > now - 1]
        if len(self._recent) >= self.requests_per_s:
            refused = HeyGenRefused(429, "rate_limit_exceeded", "Rate limit exceeded")
            refused.response.headers["retry-after"] = "1"
            raise refused
        self._recent.append(now)

    def _list_videos(self, home: Workspace, request: Request, _: bytes) -> Response:
        given = _query(request, "folder_id", "title")
        rows = [
            one
            for one in home.videos
            if given.get("folder_id") in {None, one["folder_id"]}
            and given.get("title", "") in (one["title"] or "")
        ]
        return _page(rows, given, default=10, most=100)

    def _get_video(self, home: Workspace, request: Request, _: bytes) -> Response:
        for one in home.videos:
            if one["id"] == request.path_params["id"]:
                return _json({"data": one})
        raise HeyGenRefused(404, "video_not_found", "Video not found", "video_id")

    def _create_video(self, home: Workspace, request: Request, raw: bytes) -> Response:
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise _invalid("Content-Type must be application/json")
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise _invalid("Request body is not valid JSON") from None
        wrong = problem(body)
        if wrong is not None:
            raise _invalid(*wrong)
        self._check_known(home, body)
        if not self.credit:
            raise HeyGenRefused(402, "insufficient_credit", "Insufficient credit")
        return _json({"data": home.create_video(body)})

    def _check_known(self, home: Workspace, body: dict[str, Any]) -> None:
        avatars = {one["id"] for one in home.looks}
        voices = {one["voice_id"] for one in home.voices} | {None}
        for speaker in speakers_of(body):
            if speaker["avatar_id"] not in avatars:
                raise HeyGenRefused(404, "not_found", "Avatar not found", "avatar_id")
            if speaker.get("voice_id") not in voices:
                raise HeyGenRefused(404, "not_found", "Voice not found", "voice_id")

    def _list_looks(self, home: Workspace, request: Request, _: bytes) -> Response:
        given = _query(request, "group_id", "avatar_type", "ownership")
        rows = [
            one
            for one in home.looks
            if all(given.get(key) in {None, one[key]} for key in ("group_id", "avatar_type"))
        ]
        return _page(rows, given, default=20, most=50)

    def _list_voices(self, home: Workspace, request: Request, _: bytes) -> Response:
        given = _query(request, "type", "engine", "language", "gender")
        kind = given.get("type", "public")
        if kind not in {"public", "private"}:
            raise _invalid("type must be public or private", "type")
        rows = [
            {key: value for key, value in one.items() if key != "type"}
            for one in home.voices
            if one["type"] == kind
            and all(given.get(key) in {None, one[key]} for key in ("language", "gender"))
        ]
        return _page(rows, given, default=20, most=100)

    def _me(self, home: Workspace, request: Request, _: bytes) -> Response:
        _query(request)
        return _json({"data": home.user})

    def _list_templates(self, home: Workspace, request: Request, _: bytes) -> Response:
        return _page(home.templates, _query(request), default=10, most=100)


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _invalid(message: str, param: str | None = None) -> HeyGenRefused:
    return HeyGenRefused(400, "invalid_parameter", message, param)


async def _no_route(_: Request, __: Exception) -> Response:
    return HeyGenRefused(404, "not_found", "Not found").response


def _query(request: Request, *known: str) -> dict[str, str]:
    given = dict(request.query_params)
    for name in given:
        if name not in _PAGING and name not in known:
            raise _invalid(f"Unknown parameter: {name}", name)
    return given


def _page(
    rows: list[dict[str, Any]], given: dict[str, str], *, default: int, most: int
) -> Response:
    limit = given.get("limit", str(default))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= most):
        raise _invalid(f"limit must be between 1 and {most}", "limit")
    start = _start(given.get("token"))
    end = start + int(limit)
    more = end < len(rows)
    token = base64.urlsafe_b64encode(f"from:{end}".encode()).decode() if more else None
    return _json({"data": rows[start:end], "has_more": more, "next_token": token})


def _start(token: str | None) -> int:
    if token is None:
        return 0
    try:
        found = re.fullmatch(rb"from:(\d{1,9})", base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError):
        found = None
    if found is None:
        raise _invalid("Invalid token", "token")
    return int(found[1])
