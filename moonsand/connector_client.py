"""
Connections, buckets and syncs from Python, called as Mixpeek's own client calls them.

```python
connection = client.organizations.connections.create(
    name="Mux Production", provider_type="mux", provider_config={"credentials": {...}}
)
sync = client.buckets.syncs.create(bucket_id="bkt_1", connection_id=connection.connection_id)
```

Each method takes the fields of the route's body by name and gives its answer, whose fields can be
read as attributes. On an `AsyncClient` it is awaited. `docs/mux-mixpeek.md` tells what each field
means. Errors are those of `core.errors`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from moonsand.exchange import Ask
from moonsand.path_part import path_part

_CONNECTIONS = "/v1/organizations/connections"
_BUCKETS = "/v1/buckets"
_WAIT_S = 60.0


class Answer(dict[str, Any]):
    """A JSON object whose fields are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        """Give a field."""
        try:
            found = self[name]
        except KeyError:
            raise AttributeError(name) from None
        return Answer(found) if isinstance(found, dict) else found


Send = Callable[[Ask[Answer]], Any]


class Connections:
    """`/v1/organizations/connections`."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def create(self, **fields: Any) -> Any:
        """Make a connection."""
        return self._send(_ask("POST", _CONNECTIONS, fields))

    def list(self, **query: Any) -> Any:
        """List connections: `results`, and `pagination` with `next_cursor`."""
        return self._send(_ask("POST", f"{_CONNECTIONS}/list", None, query))

    def get(self, connection_id: str) -> Any:
        """Show a connection by its id or name."""
        return self._send(_ask("GET", _path(_CONNECTIONS, connection_id)))

    def update(self, connection_id: str, **fields: Any) -> Any:
        """Change a connection."""
        return self._send(_ask("PATCH", _path(_CONNECTIONS, connection_id), fields))

    def delete(self, connection_id: str) -> Any:
        """Delete a connection."""
        return self._send(_ask("DELETE", _path(_CONNECTIONS, connection_id)))

    def test(self, connection_id: str) -> Any:
        """Try a connection."""
        return self._send(_ask("POST", f"{_path(_CONNECTIONS, connection_id)}/test"))


class Syncs:
    """`/v1/buckets/{bucket_id}/syncs`."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def create(self, bucket_id: str, **fields: Any) -> Any:
        """Make a sync."""
        return self._send(_ask("POST", _syncs(bucket_id), fields))

    def list(self, bucket_id: str, **query: Any) -> Any:
        """List the syncs of a bucket: `results`, and `pagination` with `next_cursor`."""
        return self._send(_ask("POST", f"{_syncs(bucket_id)}/list", None, query))

    def get(self, bucket_id: str, sync_config_id: str) -> Any:
        """Show a sync."""
        return self._send(_ask("GET", _path(_syncs(bucket_id), sync_config_id)))

    def update(self, bucket_id: str, sync_config_id: str, **fields: Any) -> Any:
        """Change a sync."""
        return self._send(_ask("PATCH", _path(_syncs(bucket_id), sync_config_id), fields))

    def delete(self, bucket_id: str, sync_config_id: str) -> Any:
        """Delete a sync."""
        return self._send(_ask("DELETE", _path(_syncs(bucket_id), sync_config_id)))

    def trigger(self, bucket_id: str, sync_config_id: str) -> Any:
        """Begin a cycle now."""
        return self._do(bucket_id, sync_config_id, "trigger")

    def pause(self, bucket_id: str, sync_config_id: str) -> Any:
        """Begin no more cycles."""
        return self._do(bucket_id, sync_config_id, "pause")

    def resume(self, bucket_id: str, sync_config_id: str) -> Any:
        """Begin cycles again."""
        return self._do(bucket_id, sync_config_id, "resume")

    def _do(self, bucket_id: str, sync_config_id: str, what: str) -> Any:
        return self._send(_ask("POST", f"{_path(_syncs(bucket_id), sync_config_id)}/{what}"))


class Buckets:
    """`/v1/buckets`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.syncs = Syncs(send)

    def create(self, **fields: Any) -> Any:
        """Make a bucket at Mixpeek."""
        return self._send(_ask("POST", _BUCKETS, fields))


class Organizations:
    """`/v1/organizations`."""

    def __init__(self, send: Send) -> None:
        self.connections = Connections(send)


class MixpeekShaped:
    """What a client has that is called as Mixpeek's own is called."""

    @property
    def organizations(self) -> Organizations:
        """Connections."""
        return Organizations(cast("Any", self)._ask)  # noqa: SLF001 (of the client itself)

    @property
    def buckets(self) -> Buckets:
        """Buckets and their syncs."""
        return Buckets(cast("Any", self)._ask)  # noqa: SLF001 (of the client itself)


def _ask(
    method: str, path: str, body: Any = None, query: dict[str, Any] | None = None
) -> Ask[Answer]:
    params = {name: str(value) for name, value in (query or {}).items() if value is not None}
    return Ask(method, path, _read, json=body, params=params or None, timeout_s=_WAIT_S)


def _read(found: Any) -> Answer:
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004 (who calls knows it as a bad answer)
    return Answer(found)


def _path(base: str, name: str) -> str:
    return f"{base}/{path_part(name)}"


def _syncs(bucket_id: str) -> str:
    return f"{_path(_BUCKETS, bucket_id)}/syncs"
