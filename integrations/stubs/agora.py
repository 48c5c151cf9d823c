"""Agora Cloud Recording's HTTP API on this machine: paths, authentication, bodies, statuses."""

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

from integrations.stubs.agora_data import (
    CUSTOMERS,
    AgoraRefused,
    Project,
    Recording,
    check_layout,
    check_start,
    check_update,
    project,
)

_UID = re.compile(r"[1-9][0-9]{0,9}")
_BODY = frozenset({"cname", "uid", "clientRequest"})


class AgoraStub:
    """
    The application.

    `requests_per_s`, when not None, answers 429 beyond that many requests in one second.
    """

    def __init__(self) -> None:
        self.reset()
        recording = "/v1/apps/{app}/cloud_recording"
        session = f"{recording}/resourceid/{{resource}}/sid/{{sid}}/mode/{{mode}}"
        start = f"{recording}/resourceid/{{resource}}/mode/{{mode}}/start"
        self.app = Starlette(
            routes=[
                self._route("POST", f"{recording}/acquire", self._acquire),
                self._route("POST", start, self._start),
                self._route("GET", f"{session}/query", self._query),
                self._route("POST", f"{session}/update", self._update),
                self._route("POST", f"{session}/updateLayout", self._update_layout),
                self._route("POST", f"{session}/stop", self._stop),
                self._route("GET", "/v1/ncs/ip", self._addresses),
            ],
            exception_handlers={404: _no_route, 405: _no_route},
        )

    def accounts(self, url: str) -> Mapping[str, Mapping[str, str]]:
        """Give the credential fields of every account it knows, when it is served at `url`."""
        return {
            name: {
                "customer_id": one.customer_id,
                "customer_secret": one.customer_secret,
                "app_id": one.app_id,
                "url": url,
            }
            for name, one in CUSTOMERS.items()
        }

    def reset(self) -> None:
        """Forget every recording, and lift the rate limit."""
        self.projects = {one.app_id: project(name) for name, one in CUSTOMERS.items()}
        self.requests_per_s: int | None = None
        self._recent: list[float] = []

    def _route(
        self, method: str, path: str, answer: Callable[[Project, Request, bytes], Any]
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                name = self._authenticate(request)
                self._limit()
                home = self._home(name, request)
                return _json(answer(home, request, await request.body()))
            except AgoraRefused as refused:
                return _json(refused.body, refused.status)

        # Starlette adds HEAD to GET; Agora does not answer it.
        route = Route(path, endpoint, methods=[method], name=f"{method} {path}")
        route.methods = {method}
        return route

    def _authenticate(self, request: Request) -> str:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            raise AgoraRefused(401, {"message": "Unauthorized"})
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user, password = "", ""
        for name, one in CUSTOMERS.items():
            right = secrets.compare_digest(password.encode(), one.customer_secret.encode())
            if user == one.customer_id and right:
                return name
        raise AgoraRefused(401, {"message": "Invalid authentication credentials"})

    def _home(self, name: str, request: Request) -> Project:
        own = CUSTOMERS[name].app_id
        if request.path_params.get("app", own) != own:
            raise AgoraRefused(400, {"message": "appid is invalid"})
        return self.projects[own]

    def _limit(self) -> None:
        if self.requests_per_s is None:
            return
        now = time.monotonic()
        self._recent = [one for one in self._recent if one > now - 1]
        if len(self._recent) >= self.requests_per_s:
            raise AgoraRefused(429, {"message": "API rate limit exceeded"})
        self._recent.append(now)

    def _acquire(self, home: Project, request: Request, raw: bytes) -> dict[str, Any]:
        body = _body(request, raw)
        wanted = body["clientRequest"]
        if wanted.get("scene", 0) not in {0, 1, 2}:
            raise _wrong("scene")
        hours = wanted.get("resourceExpiredHour", 72)
        if isinstance(hours, bool) or not isinstance(hours, int) or not 1 <= hours <= 720:
            raise _wrong("resourceExpiredHour")
        if not isinstance(wanted.get("startParameter", {}), dict):
            raise _wrong("startParameter")
        recording = home.acquire(body["cname"], body["uid"], wanted)
        return recording.about()

    def _start(self, home: Project, request: Request, raw: bytes) -> dict[str, Any]:
        body = _body(request, raw)
        recording = _same(home.resource(request.path_params["resource"]), body)
        mode = request.path_params["mode"]
        if mode not in {"individual", "mix", "web"}:
            raise _wrong("mode")
        if recording.sid is not None:
            raise AgoraRefused(201, {"code": 7, "reason": "already started"})
        if (mode == "web") != (recording.scene == 1):
            raise _wrong("mode and scene")
        check_start(body["clientRequest"], recording.start_parameter)
        home.start(recording, mode)
        return recording.about()

    def _query(self, home: Project, request: Request, _: bytes) -> dict[str, Any]:
        recording = _running(home, request)
        return {**recording.about(), "serverResponse": recording.state()}

    def _update(self, home: Project, request: Request, raw: bytes) -> dict[str, Any]:
        body = _body(request, raw)
        recording = _same(_running(home, request), body)
        check_update(body["clientRequest"], recording)
        return recording.about()

    def _update_layout(self, home: Project, request: Request, raw: bytes) -> dict[str, Any]:
        body = _body(request, raw)
        recording = _same(_running(home, request), body)
        if recording.mode != "mix":
            raise AgoraRefused(400, {"code": 49, "reason": "invalid operation"})
        check_layout(body["clientRequest"])
        recording.layout = body["clientRequest"]
        return recording.about()

    def _stop(self, home: Project, request: Request, raw: bytes) -> dict[str, Any]:
        body = _body(request, raw)
        recording = _same(_running(home, request), body)
        wait = body["clientRequest"].get("async_stop", False)
        if not isinstance(wait, bool):
            raise _wrong("async_stop")
        recording.stopped = True
        return {**recording.about(), "serverResponse": recording.uploads(now=not wait)}

    def _addresses(self, _: Project, __: Request, ___: bytes) -> dict[str, Any]:
        hosts = [{"primaryIP": "203.0.113.10"}, {"primaryIP": "203.0.113.11"}]
        return {"data": {"service": {"hosts": hosts}}}


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _wrong(what: str) -> AgoraRefused:
    return AgoraRefused(400, {"code": 2, "reason": f"{what} is invalid"})


async def _no_route(_: Request, __: Exception) -> Response:
    return _json({"message": "no Route matched with those values"}, 404)


def _body(request: Request, raw: bytes) -> dict[str, Any]:
    """Give the body of a POST: channel, user, and an object, as Agora demands them."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise _wrong("content-type")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise _wrong("body") from None
    if not isinstance(body, dict) or set(body) != _BODY:
        raise _wrong("body")
    if not isinstance(body["cname"], str) or not body["cname"]:
        raise _wrong("cname")
    uid = body["uid"]
    if not isinstance(uid, str) or not _UID.fullmatch(uid) or int(uid) >= 2**32:
        raise _wrong("uid")
    if not isinstance(body["clientRequest"], dict):
        raise _wrong("clientRequest")
    return body


def _running(home: Project, request: Request) -> Recording:
    found = home.resource(request.path_params["resource"])
    asked = request.path_params["sid"], request.path_params["mode"]
    if (found.sid, found.mode) != asked or found.stopped:
        raise AgoraRefused(404, {"code": 404, "reason": "failed to find worker"})
    return found


def _same(recording: Recording, body: Mapping[str, Any]) -> Recording:
    if (recording.cname, recording.uid) != (body["cname"], body["uid"]):
        raise _wrong("cname or uid")
    return recording
