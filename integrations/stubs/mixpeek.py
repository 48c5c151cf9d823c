"""The part of Mixpeek's HTTP API that connects, stores, syncs and searches, on this machine."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from integrations.stubs.mixpeek_objects import ObjectRefused, Objects

#: API key of each account the stub knows; its namespace is `ns-<name>`.
ACCOUNTS: dict[str, str] = {name: f"sk_stub_mixpeek_{name}" for name in ("default", "work")}
_OPERATORS = frozenset(
    (
        *("equals", "not_equals", "contains", "not_contains"),
        *("gt", "lt", "gte", "lte", "exists"),
    )
)
_TYPES = frozenset({"text", "string", "number", "image", "audio", "video", "pdf", "excel"})
_CONNECTION = {
    "name": str, "provider_type": str, "provider_config": dict, "description": str,
    "metadata": dict, "test_before_save": bool, "status": str, "is_active": bool,
}  # fmt: skip
_BUCKET = {
    "bucket_name": str, "bucket_schema": dict, "description": str, "unique_key": dict,
    "metadata": dict,
}  # fmt: skip
_SYNC = {
    "connection_id": str, "source_path": str, "sync_mode": str, "polling_interval_seconds": int,
    "batch_size": int, "file_filters": dict, "schema_mapping": dict,
    "skip_batch_submission": bool, "metadata": dict, "reconcile_on_sync": bool,
    "description": str, "status": str, "is_active": bool,
}  # fmt: skip
_OBJECT = {
    "key_prefix": str, "blobs": list, "metadata": dict, "source_metadata": dict,
    "skip_duplicates": bool, "canonicalize_source": bool, "force_remirror": bool,
}  # fmt: skip
_FILTERS = {
    "include_patterns": list, "exclude_patterns": list, "min_size_bytes": int,
    "max_size_bytes": int, "modified_after": str, "modified_before": str, "mime_types": list,
    "metadata_filters": list,
}  # fmt: skip


class MixpeekRefused(Exception):
    """An answer with an error body, in one of Mixpeek's two shapes."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(kind)
        body: dict[str, Any] = {"detail": [{"loc": ["body"], "msg": message, "type": kind}]}
        if status != 422:
            error = {"message": message, "type": kind}
            body = {"success": False, "status": status, "error": error}
        self.response = _json(body, status)


@dataclass(slots=True)
class Home:
    """What one API key sees."""

    namespace: str
    connections: list[dict[str, Any]] = field(default_factory=list)
    buckets: list[dict[str, Any]] = field(default_factory=list)
    syncs: list[dict[str, Any]] = field(default_factory=list)
    objects: Objects = field(default_factory=Objects)


class MixpeekStub:
    """The application."""

    def __init__(self) -> None:
        self.reset()
        one = "/v1/organizations/connections"
        bucket, sync = "/v1/buckets/{bucket}", "/v1/buckets/{bucket}/syncs/{sync}"
        self.app = Starlette(
            routes=[
                self._route("POST", one, self._create_connection),
                self._route("POST", f"{one}/list", self._list_connections),
                self._route("GET", f"{one}/{{connection}}", self._get_connection),
                self._route("PATCH", f"{one}/{{connection}}", self._update_connection),
                self._route("DELETE", f"{one}/{{connection}}", self._delete_connection),
                self._route("POST", f"{one}/{{connection}}/test", self._test_connection),
                self._route("POST", "/v1/buckets", self._create_bucket),
                self._route("POST", "/v1/buckets/list", self._list_buckets),
                self._route("GET", bucket, self._get_bucket),
                self._route("DELETE", bucket, self._delete_bucket),
                self._route("POST", f"{bucket}/objects", self._create_object),
                self._route("POST", f"{bucket}/objects/list", self._list_objects),
                self._route("GET", f"{bucket}/objects/{{object}}", self._get_object),
                self._route("DELETE", f"{bucket}/objects/{{object}}", self._delete_object),
                self._route("POST", f"{bucket}/syncs", self._create_sync),
                self._route("POST", f"{bucket}/syncs/list", self._list_syncs),
                self._route("GET", sync, self._get_sync),
                self._route("PATCH", sync, self._update_sync),
                self._route("DELETE", sync, self._delete_sync),
                self._route("POST", f"{sync}/trigger", self._trigger_sync),
                self._route("POST", "/v1/retrievers/{retriever}/execute", self._execute_retriever),
            ],
            exception_handlers={404: _no_route, 405: _no_route},
        )

    def accounts(self, url: str) -> Mapping[str, Mapping[str, str]]:
        """Give the credential fields of every account it knows, when it is served at `url`."""
        return {
            name: {"api_key": key, "namespace": f"ns-{name}", "base_url": url}
            for name, key in ACCOUNTS.items()
        }

    def reset(self) -> None:
        """Forget what was created."""
        self.homes = {name: _home(name) for name in ACCOUNTS}

    def _route(
        self, method: str, path: str, answer: Callable[[Home, Request, dict[str, Any]], Any]
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                home = self._authenticate(request)
                given = answer(home, request, _body(await request.body()))
            except MixpeekRefused as refused:
                return refused.response
            except ObjectRefused as refused:
                return MixpeekRefused(refused.status, refused.kind, refused.message).response
            return Response(status_code=204) if given is None else _json(given)

        # Starlette adds HEAD to GET; Mixpeek does not answer it.
        route = Route(path, endpoint, methods=[method], name=f"{method} {path}")
        route.methods = {method}
        return route

    def _authenticate(self, request: Request) -> Home:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        known = {
            name
            for name, own in ACCOUNTS.items()
            if scheme == "Bearer" and secrets.compare_digest(key.encode(), own.encode())
        }
        if not known:
            raise MixpeekRefused(401, "AuthenticationError", "Invalid API key")
        home = self.homes[known.pop()]
        namespaced = request.url.path.startswith(("/v1/buckets", "/v1/retrievers"))
        if namespaced and request.headers.get("x-namespace") != home.namespace:
            raise MixpeekRefused(404, "NotFoundError", "Namespace not found")
        return home

    def _create_connection(self, home: Home, _: Request, body: dict[str, Any]) -> Any:
        _check(body, _CONNECTION, {"name", "provider_type", "provider_config"})
        _check_provider(body)
        made = {**body, "connection_id": f"conn_{len(home.connections):04d}", "status": "ACTIVE"}
        home.connections.append(made)
        return _shown(made)

    def _list_connections(self, home: Home, request: Request, body: dict[str, Any]) -> Any:
        _check(body, {"provider_type": str, "status": str, "is_active": bool})
        return _page([_shown(one) for one in _like(home.connections, body)], request.query_params)

    def _get_connection(self, home: Home, request: Request, _: dict[str, Any]) -> Any:
        return _shown(_connection(home, request))

    def _update_connection(self, home: Home, request: Request, body: dict[str, Any]) -> Any:
        _check(body, _CONNECTION)
        _check_provider({**_connection(home, request), **body})
        _connection(home, request).update(body)
        return _shown(_connection(home, request))

    def _delete_connection(self, home: Home, request: Request, _: dict[str, Any]) -> Any:
        _connection(home, request)["status"] = "ARCHIVED"
        return {"success": True}

    def _test_connection(self, home: Home, request: Request, _: dict[str, Any]) -> Any:
        return {"success": _connection(home, request)["status"] == "ACTIVE", "message": "ok"}

    def _create_bucket(self, home: Home, _: Request, body: dict[str, Any]) -> Any:
        _check(body, _BUCKET, {"bucket_name", "bucket_schema"})
        for one in body["bucket_schema"].get("properties", {"": {}}).values():
            if one.get("type") not in _TYPES:
                raise MixpeekRefused(422, "value_error", "bucket_schema has an unknown type")
        made = {**body, "bucket_id": f"bkt_{len(home.buckets):04d}", "object_count": 0}
        home.buckets.append(made)
        return made

    def _list_buckets(self, home: Home, _: Request, body: dict[str, Any]) -> Any:
        _check(body, {"search": str, "limit": int, "offset": int})
        found = [one for one in home.buckets if body.get("search", "") in one["bucket_name"]]
        return _page(found, body)

    def _get_bucket(self, home: Home, request: Request, _: dict[str, Any]) -> Any:
        return _bucket(home, request)

    def _delete_bucket(self, home: Home, request: Request, _: dict[str, Any]) -> Any:
        home.buckets.remove(_bucket(home, request))
        return {"success": True}

    def _create_object(self, home: Home, request: Request, body: dict[str, Any]) -> Any:
        _check(body, _OBJECT)
        process = request.query_params.get("auto_process") == "true"
        return home.objects.create(_bucket(home, request), body, process=process)

    def _list_objects(self, home: Home, request: Request, body: dict[str, Any]) -> Any:
        _check(body, {"filters": dict, "sort": dict, "search": str, "select": list})
        return home.objects.page(_bucket(home, request), body, request.query_params)

    def _get_object(self, home: Home, request: Request, _: dict[str, Any]) -> Any:
        return home.objects.find(_bucket(home, request), request.path_params["object"])

    def _delete_object(self, home: Home, request: Request, _: dict[str, Any]) -> None:
        found = home.objects.find(_bucket(home, request), request.path_params["object"])
        home.objects.rows.remove(found)

    def _create_sync(self, home: Home, request: Request, body: dict[str, Any]) -> Any:
        _check(body, _SYNC, {"connection_id", "source_path"})
        _check_filters(body.get("file_filters", {}))
        if all(one["connection_id"] != body["connection_id"] for one in home.connections):
            raise MixpeekRefused(404, "NotFoundError", "Connection not found")
        number = f"sync_{len(home.syncs):04d}"
        bucket = _bucket(home, request)["bucket_id"]
        made = {**body, "sync_config_id": number, "bucket_id": bucket, "status": "PENDING"}
        home.syncs.append(made)
        return made

    def _list_syncs(self, home: Home, request: Request, body: dict[str, Any]) -> Any:
        _check(body, {"connection_id": str, "status": str, "is_active": bool})
        bucket = _bucket(home, request)["bucket_id"]
        found = _like(home.syncs, {**body, "bucket_id": bucket})
        return _page(found, request.query_params)

    def _get_sync(self, home: Home, request: Request, _: dict[str, Any]) -> Any:
        return _sync(home, request)

    def _update_sync(self, home: Home, request: Request, body: dict[str, Any]) -> Any:
        fixed = {"connection_id", "source_path", "sync_mode", "file_filters"}
        _check(body, {key: kind for key, kind in _SYNC.items() if key not in fixed})
        _sync(home, request).update(body)
        return _sync(home, request)

    def _delete_sync(self, home: Home, request: Request, _: dict[str, Any]) -> Any:
        home.syncs.remove(_sync(home, request))
        return {"success": True}

    def _trigger_sync(self, home: Home, request: Request, _: dict[str, Any]) -> Any:
        return {"sync_job_id": f"job_{_sync(home, request)['sync_config_id']}"}

    def _execute_retriever(self, home: Home, request: Request, body: dict[str, Any]) -> Any:
        _check(body, {"inputs": dict, "pagination": dict, "stream": bool})
        if request.path_params["retriever"] not in {"ret_videos", "videos"}:
            raise MixpeekRefused(404, "NotFoundError", "Retriever not found")
        return {"execution_id": "exec_1", **home.objects.search(body.get("pagination", {}))}


def _home(name: str) -> Home:
    secret = {"type": "access_token", "access_token_id": "i", "access_token_secret": "s"}
    connection = {
        "connection_id": "conn_mux", "name": "mux-main", "provider_type": "mux",
        "provider_config": {"credentials": secret}, "status": "ACTIVE",
    }  # fmt: skip
    bucket = {"bucket_id": "bkt_videos", "bucket_name": "videos", "object_count": 0}
    sync = {
        "sync_config_id": "sync_main", "bucket_id": "bkt_videos", "connection_id": "conn_mux",
        "sync_mode": "continuous", "status": "ACTIVE",
    }  # fmt: skip
    metadata = {
        "asset_id": "abc123xyz", "playback_id": "play-abc123xyz", "status": "ready",
        "playback_url": "https://stream.mux.com/play-abc123xyz.m3u8",
    }  # fmt: skip
    stored = {
        "object_id": "obj_main", "bucket_id": "bkt_videos", "status": "COMPLETED",
        "key_prefix": "films/intro", "source_metadata": metadata,
    }  # fmt: skip
    return Home(f"ns-{name}", [connection], [bucket], [sync], Objects([stored]))


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


async def _no_route(_: Request, __: Exception) -> Response:
    return MixpeekRefused(404, "NotFoundError", "Not Found").response


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise MixpeekRefused(422, "json_invalid", "the body is no JSON object")
    return body


def _check(
    body: Mapping[str, Any], kinds: Mapping[str, type], required: set[str] | None = None
) -> None:
    for key in (required or set()) - set(body):
        raise MixpeekRefused(422, "missing", f"{key}: Field required")
    for key, value in body.items():
        kind = kinds.get(key)
        if kind is None:
            raise MixpeekRefused(422, "extra_forbidden", f"{key}: Extra inputs are not permitted")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise MixpeekRefused(422, "type_error", f"{key}: must be {kind.__name__}")


def _check_provider(body: Mapping[str, Any]) -> None:
    given = body["provider_config"].get("credentials", {})
    needed = {"type", "access_token_id", "access_token_secret"}
    if body["provider_type"] != "mux" or not needed <= set(given):
        raise MixpeekRefused(400, "ValidationError", "provider_config.credentials is incomplete")


def _check_filters(filters: Mapping[str, Any]) -> None:
    _check(filters, _FILTERS)
    for rule in filters.get("metadata_filters", []):
        if not isinstance(rule, dict) or rule.get("operator") not in _OPERATORS:
            raise MixpeekRefused(422, "enum", "metadata_filters: unknown operator")
        if not rule.get("field") or (rule["operator"] != "exists" and "value" not in rule):
            raise MixpeekRefused(422, "missing", "metadata_filters: field and value are required")


def _like(rows: list[dict[str, Any]], wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [one for one in rows if all(one.get(key) == wanted[key] for key in wanted)]


def _page(rows: list[dict[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    limit, offset = int(given.get("limit", 10)), int(given.get("offset", 0))
    pagination = {"total": len(rows), "page_size": limit, "next_cursor": None}
    return {"results": rows[offset : offset + limit], "pagination": pagination}


def _shown(connection: dict[str, Any]) -> dict[str, Any]:
    """Give a connection as Mixpeek shows it, without its secrets."""
    return {**connection, "provider_config": {"credentials": {"type": "access_token"}}}


def _find(rows: list[dict[str, Any]], given: str, keys: tuple[str, ...], what: str) -> Any:
    for one in rows:
        if given in [one.get(key) for key in keys]:
            return one
    raise MixpeekRefused(404, "NotFoundError", f"{what} not found")


def _connection(home: Home, request: Request) -> dict[str, Any]:
    given = request.path_params["connection"]
    found: dict[str, Any] = _find(home.connections, given, ("connection_id", "name"), "Connection")
    return found


def _bucket(home: Home, request: Request) -> dict[str, Any]:
    given = request.path_params["bucket"]
    found: dict[str, Any] = _find(home.buckets, given, ("bucket_id", "bucket_name"), "Bucket")
    return found


def _sync(home: Home, request: Request) -> dict[str, Any]:
    rows = _like(home.syncs, {"bucket_id": _bucket(home, request)["bucket_id"]})
    given = request.path_params["sync"]
    found: dict[str, Any] = _find(rows, given, ("sync_config_id",), "Sync")
    return found
