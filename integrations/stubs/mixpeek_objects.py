"""Objects in the buckets of the stub of Mixpeek: made, found by filters, gone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_BLOB_NEEDS = {"property", "type"}
_MAX_PAGE = 1_000


class ObjectRefused(Exception):
    """An object or a filter that Mixpeek would not take, or an object that is not there."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


@dataclass(slots=True)
class Objects:
    """
    All objects of one namespace, listed by their ids.

    `ever` counts those made since the start, those that are gone again included.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    ever: int = 0

    def create(
        self, bucket: Mapping[str, Any], body: Mapping[str, Any], *, process: bool
    ) -> dict[str, Any]:
        """Make an object; its blobs must be those of the bucket's schema."""
        known = bucket.get("bucket_schema", {}).get("properties", {"video": {"type": "video"}})
        for blob in body.get("blobs", []):
            if not isinstance(blob, dict) or not set(blob) >= _BLOB_NEEDS:
                raise ObjectRefused(422, "missing", "blobs: property and type are required")
            if blob["property"] not in known:
                message = f"Property {blob['property']} is not in the bucket schema"
                raise ObjectRefused(400, "ValidationError", message)
        self.ever += 1
        made = {
            **body,
            "object_id": f"obj_{self.ever:024d}",
            "bucket_id": bucket["bucket_id"],
            "status": "PENDING" if process else "DRAFT",
        }
        self.rows.append(made)
        return made

    def find(self, bucket: Mapping[str, Any], object_id: str) -> dict[str, Any]:
        """Give one object of a bucket."""
        for one in self.rows:
            if (one["bucket_id"], one["object_id"]) == (bucket["bucket_id"], object_id):
                return one
        raise ObjectRefused(404, "NotFoundError", "Object not found")

    def page(
        self, bucket: Mapping[str, Any], body: Mapping[str, Any], query: Mapping[str, str]
    ) -> dict[str, Any]:
        """List objects of a bucket; the cursor is the id of the last one of the page before."""
        limit = int(query.get("limit", "10"))
        if not 1 <= limit <= _MAX_PAGE:
            raise ObjectRefused(422, "value_error", "limit: must be 1 to 1000")
        after = query.get("cursor", "")
        holds = _condition(body.get("filters") or {})
        found = [
            one
            for one in sorted(self.rows, key=lambda row: str(row["object_id"]))
            if one["bucket_id"] == bucket["bucket_id"] and one["object_id"] > after and holds(one)
        ]
        more = len(found) > limit
        pagination = {"page_size": limit, "next_cursor": None}
        if more:
            pagination["next_cursor"] = found[limit - 1]["object_id"]
        rows = [_selected(one, body.get("select")) for one in found[:limit]]
        return {"results": rows, "pagination": pagination}

    def search(self, pagination: Mapping[str, Any]) -> dict[str, Any]:
        """Give a document for each object that is or will be processed, as a retriever does."""
        limit = pagination.get("limit", 20)
        documents = [
            {
                "document_id": f"doc_{one['object_id'].removeprefix('obj_')}",
                "object_id": one["object_id"],
                "score": 1.0,
                "source_metadata": one.get("source_metadata", {}),
            }
            for one in self.rows
            if one["status"] != "DRAFT"
        ]
        return {"documents": documents[:limit], "pagination": {"method": "cursor", "cursor": None}}


def _selected(row: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    """Give the top-level fields that were asked for, with those that are always there."""
    if names is None:
        return row
    wanted = {"object_id", "bucket_id", *(name.partition(".")[0] for name in names)}
    return {name: value for name, value in row.items() if name in wanted}


Test = Callable[[Mapping[str, Any]], bool]


def _condition(given: Any) -> Test:
    if not isinstance(given, dict):
        raise ObjectRefused(422, "type_error", "filters: must be an object")
    if "field" in given:
        return _field_condition(given)
    parts: list[Test] = []
    for key, value in given.items():
        if key == "case_sensitive":
            continue
        if key in {"AND", "OR", "NOT"}:
            inner = [_condition(one) for one in value]
            parts.append(_joined(key, inner))
        else:
            parts.append(_field_condition({"field": key, "value": value}))
    return lambda row: all(part(row) for part in parts)


def _joined(how: str, inner: list[Test]) -> Test:
    if how == "AND":
        return lambda row: all(one(row) for one in inner)
    if how == "OR":
        return lambda row: any(one(row) for one in inner)
    return lambda row: not any(one(row) for one in inner)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda found, value: found == value,
    "ne": lambda found, value: found != value,
    "in": lambda found, value: found in value,
    "nin": lambda found, value: found not in value,
    "starts_with": lambda found, value: isinstance(found, str) and found.startswith(value),
    "ends_with": lambda found, value: isinstance(found, str) and found.endswith(value),
    "contains": lambda found, value: isinstance(found, str) and value in found,
    "exists": lambda found, value: (found is not None) == bool(value),
    "regex": lambda found, value: isinstance(found, str) and bool(re.search(value, found)),
}


def _field_condition(given: Mapping[str, Any]) -> Test:
    operator = _OPERATORS.get(given.get("operator", "eq"))
    if operator is None or "value" not in given:
        raise ObjectRefused(422, "enum", "filters: unknown operator, or no value")
    return lambda row: operator(_at(row, given["field"]), given["value"])


def _at(row: Any, name: str) -> Any:
    for part in name.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return row
