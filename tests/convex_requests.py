"""What reached the stub of Convex, as tests look at it."""

from __future__ import annotations

from typing import Any

import orjson

from integrations.stubs import Stubs

QUERY = "POST /api/query"
MUTATION = "POST /api/mutation"
USER = {"table": "users", "document_id": "doc_abc123"}


def sent(stubs: Stubs) -> list[tuple[str, Any]]:
    """Give the requests that reached the stub: line and body, the envelope taken off."""
    told: list[tuple[str, Any]] = []
    for seen in stubs["convex"].faults.seen:
        body = orjson.loads(seen.body) if seen.body else None
        if body is not None:
            assert set(body) == {"path", "args", "format"}
            assert body["format"] == "json"
            body = (body["path"], body["args"])
        told.append((f"{seen.method} {seen.target}", body))
    return told
