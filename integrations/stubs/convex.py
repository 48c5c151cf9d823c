"""A Convex deployment's HTTP API on this machine: functions, shapes, deployment information."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from integrations.stubs import convex_system
from integrations.stubs.convex_data import Deployment, deployment
from integrations.stubs.convex_system import FunctionFailed

#: Deploy key of each account the stub knows; each has its own deployment.
ACCOUNTS: dict[str, str] = {
    name: f"{kind}:stub-{name}-123|stub-convex-{name}-key"
    for name, kind in (
        ("default", "dev"),
        ("work", "dev"),
        ("staging", "preview"),
        ("production", "prod"),
    )
}
_DOCUMENTS = "_system/frontend/paginatedTableDocuments"
_BAD_KEY = (
    "The provided deploy key was invalid for this deployment. Double check that the environment"
    " this key was generated for matches the desired deployment."
)
Functions = Mapping[str, Callable[[Deployment, Any], Any]]


class ConvexRefused(Exception):
    """An answer with an error body: the request did not get as far as a function."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.response = _json({"code": code, "message": message}, status)


class ConvexStub:
    """
    The application; a deploy key tells which deployment is meant.

    `read_only` names the accounts whose keys may not write. `requests_per_s`, when not None,
    answers 429 beyond that many requests in one second. `rows_read` is how many documents one
    page may read before it ends early. `thrown_status` is the status of a function's error: 200,
    or 560 as some routes of Convex have it.
    """

    def __init__(self) -> None:
        self.reset()
        self.app = Starlette(
            routes=[
                self._route("POST", "/api/query", self._query),
                self._route("POST", "/api/mutation", self._mutation),
                self._route("GET", "/api/shapes2", self._shapes),
                self._route("GET", "/api/v1/deployment_info", self._info),
            ],
            exception_handlers={404: _no_route, 405: _no_method},
        )

    def accounts(self, url: str) -> Mapping[str, Mapping[str, str]]:
        """Give the credential fields of every account it knows, when it is served at `url`."""
        return {name: {"deployment_url": url, "deploy_key": key} for name, key in ACCOUNTS.items()}

    def reset(self) -> None:
        """Forget what was written, and lift every limit."""
        self.deployments = {name: deployment(name) for name in ACCOUNTS}
        self.read_only: set[str] = set()
        self.requests_per_s: int | None = None
        self.rows_read = 10_000
        self.thrown_status = 200
        self._recent: list[float] = []

    def _route(
        self, method: str, path: str, answer: Callable[[Deployment, Request, bytes], Response]
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                home = self._authenticate(request)
                self._limit()
                raw = await request.body()
                with home.serving(request.client):
                    return answer(home, request, raw)
            except ConvexRefused as refused:
                return refused.response

        # Starlette adds HEAD to GET.
        route = Route(path, endpoint, methods=[method], name=f"{method} {path}")
        route.methods = {method}
        return route

    def _authenticate(self, request: Request) -> Deployment:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme and scheme not in {"Convex", "Bearer"}:
            raise ConvexRefused(401, "InvalidAuthHeader", "Authorization header is malformed")
        if scheme == "Convex":
            for name, key in ACCOUNTS.items():
                if secrets.compare_digest(given.encode(), key.encode()):
                    return self.deployments[name]
        raise ConvexRefused(403, "BadDeployKey", _BAD_KEY)

    def _limit(self) -> None:
        if self.requests_per_s is None:
            return
        now = time.monotonic()
        self._recent = [one for one in self._recent if one > now - 1]
        if len(self._recent) >= self.requests_per_s:
            message = "Too many concurrent requests, backoff and try again."
            raise ConvexRefused(429, "TooManyConcurrentRequests", message)
        self._recent.append(now)

    def _query(self, home: Deployment, request: Request, raw: bytes) -> Response:
        documents = partial(convex_system.documents, rows_read=self.rows_read)
        return self._call(home, request, raw, {**convex_system.QUERIES, _DOCUMENTS: documents})

    def _mutation(self, home: Deployment, request: Request, raw: bytes) -> Response:
        if home.name in self.read_only:
            message = "You do not have permission to perform this operation."
            raise ConvexRefused(403, "ReadOnlyAdminKey", message)
        return self._call(home, request, raw, convex_system.MUTATIONS)

    def _call(
        self, home: Deployment, request: Request, raw: bytes, functions: Functions
    ) -> Response:
        if not request.headers.get("content-type", "").startswith("application/json"):
            message = "Expected request with `Content-Type: application/json`"
            raise ConvexRefused(415, "BadJsonBody", message)
        path, args = _parsed(raw)
        try:
            if path not in functions:
                raise FunctionFailed(f"Could not find public function for '{path}'.")  # noqa: TRY301
            value = functions[path](home, args)
        except FunctionFailed as failed:
            answer = {"status": "error", "errorMessage": f"Server Error\n{failed.message}"}
            if failed.data is not None:
                answer["errorData"] = failed.data
            return _json(answer, self.thrown_status)
        return _json({"status": "success", "value": value})

    def _shapes(self, home: Deployment, _: Request, __: bytes) -> Response:
        return _json(home.shapes())

    def _info(self, home: Deployment, _: Request, __: bytes) -> Response:
        kind, name = ACCOUNTS[home.name].partition("|")[0].split(":")
        return _json(
            {
                "kind": "cloud",
                "teamId": 7,
                "projectId": 42,
                "projectName": f"Stub {home.name}",
                "projectSlug": f"stub-{home.name}",
                "id": 1042,
                "deploymentType": kind,
                "reference": name,
            }
        )


def _parsed(raw: bytes) -> tuple[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ConvexRefused(400, "BadJsonBody", "Failed to parse the request body") from None
    if not isinstance(body, dict) or not isinstance(body.get("path"), str) or "args" not in body:
        raise ConvexRefused(400, "BadJsonBody", "missing field `path` or `args`")
    if body.get("format", "json") not in {"json", "convex_encoded_json"}:
        raise ConvexRefused(400, "BadFormat", "format param must be one of [`json`]")
    # A list holds the one argument object, as older clients send it.
    args = body["args"]
    return body["path"], args[0] if isinstance(args, list) and args else args


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


async def _no_route(_: Request, __: Exception) -> Response:
    return PlainTextResponse("", 404)


async def _no_method(_: Request, __: Exception) -> Response:
    return PlainTextResponse("", 405)
