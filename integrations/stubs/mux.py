"""Mux's HTTP API as Mux documents it, on this machine: paths, Basic authentication, errors."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from integrations.stubs.mux_data import VIEWERS, Environment, environment

#: Token id and token secret of each account the stub knows; each has its own environment.
ACCOUNTS: dict[str, tuple[str, str]] = {
    name: (f"stub-mux-{name}-id", f"stub-mux-{name}-secret")
    for name in ("default", "work", "production", "staging")
}
_ASSET_FIELDS = frozenset(
    (
        *("inputs", "input", "playback_policies", "playback_policy", "passthrough", "meta"),
        *("advanced_playback_policies", "video_quality", "max_resolution_tier", "mp4_support"),
        *("static_renditions", "master_access", "normalize_audio", "test", "copy_overlays"),
    )
)
_STREAM_FIELDS = frozenset(
    (
        *("playback_policies", "playback_policy", "new_asset_settings", "latency_mode", "meta"),
        *("reconnect_window", "max_continuous_duration", "passthrough", "test"),
        *("advanced_playback_policies", "simulcast_targets", "low_latency", "reduced_latency"),
    )
)
_CHANGEABLE = frozenset({"passthrough", "meta"})
_POLICIES = frozenset({"public", "signed", "drm"})


class MuxRefused(Exception):
    """An answer with an error body."""

    def __init__(self, status: int, kind: str, *messages: str) -> None:
        super().__init__(kind)
        self.response = _json({"error": {"type": kind, "messages": list(messages)}}, status)


class MuxStub:
    """
    The application.

    `posts_per_s`, when not None, answers 429 beyond that many POSTs in one second. `encodes_s` is
    how many seconds an asset stays `preparing`; None: until somebody finishes it.
    """

    def __init__(self) -> None:
        self._tokens = {token: (secret, name) for name, (token, secret) in ACCOUNTS.items()}
        self.reset()
        self.app = Starlette(
            routes=[
                self._route("GET", "/video/v1/assets", self._list_assets),
                self._route("POST", "/video/v1/assets", self._create_asset),
                self._route("GET", "/video/v1/assets/{id}", self._get_asset),
                self._route("PATCH", "/video/v1/assets/{id}", self._update_asset),
                self._route("DELETE", "/video/v1/assets/{id}", self._delete_asset),
                self._route("GET", "/video/v1/live-streams", self._list_live_streams),
                self._route("POST", "/video/v1/live-streams", self._create_live_stream),
                self._route("GET", "/video/v1/live-streams/{id}", self._get_live_stream),
                self._route(
                    "GET",
                    "/data/v1/monitoring/metrics/{metric}/breakdown",
                    self._viewers,
                ),
            ],
            exception_handlers={404: _no_route, 405: _no_route},
        )

    def accounts(self, url: str) -> Mapping[str, Mapping[str, str]]:
        """Give the credential fields of every account it knows, when it is served at `url`."""
        return {
            name: {"token_id": token, "token_secret": secret, "base_url": url}
            for name, (token, secret) in ACCOUNTS.items()
        }

    def reset(self) -> None:
        """Forget what was created, and lift the rate limit."""
        self.environments = {name: environment(name) for _, name in self._tokens.values()}
        self.posts_per_s: int | None = None
        self.encodes_s: float | None = None
        self._posts: list[float] = []

    def _route(
        self, method: str, path: str, answer: Callable[[Environment, Request, bytes], Response]
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                home = self._authenticate(request)
                self._limit(request)
                if self.encodes_s is not None:
                    home.finish_older(self.encodes_s)
                return answer(home, request, await request.body())
            except MuxRefused as refused:
                return refused.response

        # Starlette adds HEAD to GET; Mux does not answer it.
        route = Route(path, endpoint, methods=[method], name=f"{method} {path}")
        route.methods = {method}
        return route

    def _authenticate(self, request: Request) -> Environment:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user, password = "", ""
        secret, name = self._tokens.get(user, ("", ""))
        known = secret and secrets.compare_digest(password.encode(), secret.encode())
        if scheme.lower() != "basic" or not known:
            raise MuxRefused(401, "unauthorized", "Unauthorized request")
        return self.environments[name]

    def _limit(self, request: Request) -> None:
        if self.posts_per_s is None or request.method != "POST":
            return
        now = time.monotonic()
        self._posts = [one for one in self._posts if one > now - 1]
        if len(self._posts) >= self.posts_per_s:
            refused = MuxRefused(429, "rate_limit_exceeded", "Too many requests")
            refused.response.headers["retry-after"] = "1"
            raise refused
        self._posts.append(now)

    def _list_assets(self, home: Environment, request: Request, _: bytes) -> Response:
        found = [
            one
            for one in home.assets
            if all(
                one.get(key) == request.query_params[key]
                for key in ("live_stream_id", "upload_id")
                if key in request.query_params
            )
        ]
        limit = _number(request, "limit", 25, 1, 100)
        rows = _after(found, request) if "cursor" in request.query_params else None
        page = _page(found, request) if rows is None else rows[:limit]
        more = bool(page) and page[-1] is not found[-1]
        return _json({"data": page, "next_cursor": page[-1]["id"] if more else None})

    def _get_asset(self, home: Environment, request: Request, _: bytes) -> Response:
        return _json({"data": _one(home.assets, request)})

    def _create_asset(self, home: Environment, _: Request, raw: bytes) -> Response:
        body = _body(raw, _ASSET_FIELDS)
        _check_asset(body)
        return _json({"data": home.create_asset(body)}, 201)

    def _update_asset(self, home: Environment, request: Request, raw: bytes) -> Response:
        changed = home.update(request.path_params["id"], _body(raw, _CHANGEABLE))
        return _json({"data": _one(home.assets, request) if changed is None else changed})

    def _delete_asset(self, home: Environment, request: Request, _: bytes) -> Response:
        if not home.delete(request.path_params["id"]):
            _one(home.assets, request)
        return Response(status_code=204)

    def _list_live_streams(self, home: Environment, request: Request, _: bytes) -> Response:
        status = request.query_params.get("status")
        found = [one for one in home.live_streams if status in {None, one["status"]}]
        return _json({"data": _page(found, request)})

    def _get_live_stream(self, home: Environment, request: Request, _: bytes) -> Response:
        return _json({"data": _one(home.live_streams, request)})

    def _create_live_stream(self, home: Environment, _: Request, raw: bytes) -> Response:
        body = _body(raw, _STREAM_FIELDS)
        _check_policies(body)
        settings = body.get("new_asset_settings", {})
        if not isinstance(settings, dict) or not set(settings) <= _ASSET_FIELDS:
            raise _invalid("new_asset_settings has unknown parameters")
        _check_policies(settings)
        return _json({"data": home.create_live_stream(body)}, 201)

    def _viewers(self, _: Environment, request: Request, __: bytes) -> Response:
        if request.path_params["metric"] != "current-concurrent-viewers":
            raise MuxRefused(404, "not_found", "The requested metric does not exist")
        if request.query_params.get("dimension") != "video_title":
            raise _invalid("dimension is not supported")
        return _json({"data": VIEWERS, "timeframe": [1700000000] * 2, "total_row_count": 2})


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _invalid(*messages: str) -> MuxRefused:
    return MuxRefused(400, "invalid_parameters", *messages)


async def _no_route(_: Request, __: Exception) -> Response:
    return MuxRefused(404, "not_found", "The requested resource doesn't exist").response


def _one(rows: list[dict[str, Any]], request: Request) -> dict[str, Any]:
    for row in rows:
        if row["id"] == request.path_params["id"]:
            return row
    message = "The requested resource either doesn't exist or you don't have access to it."
    raise MuxRefused(404, "not_found", message)


def _page(rows: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    """Mux counts pages from 1."""
    limit = _number(request, "limit", 25, 1, 100)
    page = _number(request, "page", 1, 1, 10**9)
    return rows[(page - 1) * limit : page * limit]


def _after(rows: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    """Give what comes after the asset that the cursor names."""
    ids = [one["id"] for one in rows]
    if request.query_params["cursor"] not in ids:
        raise _invalid("cursor is not valid")
    return rows[ids.index(request.query_params["cursor"]) + 1 :]


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise _invalid(f"{name} must be an integer from {least} to {most}")
    return int(text)


def _body(raw: bytes, fields: frozenset[str]) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise _invalid("Request body is not valid JSON") from None
    if not isinstance(body, dict):
        raise _invalid("Request body must be an object")
    if unknown := sorted(set(body) - fields):
        raise _invalid(*(f"Unexpected parameter: {name}" for name in unknown))
    return body


def _check_asset(body: dict[str, Any]) -> None:
    inputs = body.get("inputs", body.get("input"))
    if isinstance(inputs, str):
        inputs = [{"url": inputs}]
    if not isinstance(inputs, list) or not inputs:
        raise _invalid("inputs is required")
    if not all(isinstance(one, dict) and isinstance(one.get("url"), str) for one in inputs):
        raise _invalid("inputs must be objects with a url")
    _check_policies(body)


def _check_policies(body: dict[str, Any]) -> None:
    policies = body.get("playback_policies", [])
    if not isinstance(policies, list) or not set(map(str, policies)) <= _POLICIES:
        raise _invalid("playback_policies must be a list of public, signed, drm")
