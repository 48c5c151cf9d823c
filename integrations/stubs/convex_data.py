"""What the stub of Convex holds: a small, always equal deployment, and what is written to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

_EPOCH_MS = 1_760_000_000_000.0
Document = dict[str, Any]
#: The document that the examples change and delete.
EXAMPLE_ID = "doc_abc123"


@dataclass(slots=True)
class Deployment:
    """
    One deployment. Documents of a table are oldest first; ids are counted, never random.

    `schema` is None for a deployment without one; `schema_validation` tells whether it is held.
    """

    name: str
    tables: dict[str, list[Document]]
    schema: list[dict[str, Any]] | None
    schema_validation: bool = True
    created: int = 0
    #: Every change, as the audit log of a deployment keeps it.
    audit: list[tuple[str, Any]] = field(default_factory=list)
    #: The client who deleted the examples' document, while it is gone.
    deleted_by: Any = None

    def active_schema(self) -> str | None:
        """Give the schema as Convex stores it: JSON text."""
        if self.schema is None:
            return None
        whole = {"tables": self.schema, "schemaValidation": self.schema_validation}
        return orjson.dumps(whole).decode()

    def table_schema(self, table: str) -> dict[str, Any] | None:
        """Give what the schema says of a table."""
        return next((one for one in self.schema or () if one["tableName"] == table), None)

    def fields_of(self, table: str) -> dict[str, Any]:
        """Give the declared fields of a table: type and whether it may be missing."""
        declared = self.table_schema(table)
        fields: dict[str, Any] = declared["documentType"]["value"] if declared else {}
        return fields

    def find(self, document_id: str) -> tuple[str, Document] | None:
        """Give a document and its table, by id alone."""
        for table, documents in self.tables.items():
            for document in documents:
                if document["_id"] == document_id:
                    return table, document
        return None

    def get(self, table: str, document_id: str) -> Document | None:
        """Give a document of this table; None when the id is another table's."""
        found = self.find(document_id)
        return found[1] if found and found[0] == table else None

    def insert(self, table: str, fields: Document) -> None:
        """Add a document; a table is made by its first one."""
        self.created += 1
        head = {
            "_id": f"{self.name}_{table}_{self.created:04d}",
            "_creationTime": _EPOCH_MS + 1_000 * self.created,
        }
        self.tables.setdefault(table, []).append({**fields, **head})

    @contextlib.contextmanager
    def serving(self, client: Any) -> Iterator[None]:
        """
        Answer one request of a client; for the next client the examples' document is there again.

        No vendor does this. It lets every example run any number of times, in any order.
        """
        if self.deleted_by not in {None, client}:
            self.deleted_by = None
            self.tables.setdefault("users", []).insert(0, _example())
        there = self.find(EXAMPLE_ID) is not None
        yield
        if there and self.find(EXAMPLE_ID) is None:
            self.deleted_by = client

    def shapes(self) -> dict[str, Any]:
        """Give the inferred shape of every table, as `/api/shapes2` does."""
        return {table: _shape(documents) for table, documents in self.tables.items()}


def _shape(documents: list[Document]) -> dict[str, Any]:
    if not documents:
        return {"type": "Never"}
    names = sorted({name for document in documents for name in document})
    return {
        "type": "Object",
        "fields": [
            {
                "fieldName": name,
                "optional": any(name not in document for document in documents),
                "shape": _shape_of(next(one[name] for one in documents if name in one)),
            }
            for name in names
        ],
    }


def _shape_of(value: Any) -> dict[str, Any]:
    kinds = {str: "String", bool: "Boolean", float: "Float64", int: "Float64", list: "Array"}
    return {"type": kinds.get(type(value), "Object")}


def _field(kind: str, *, optional: bool = False) -> dict[str, Any]:
    return {"fieldType": {"type": kind}, "optional": optional}


def _table(name: str, fields: dict[str, Any], indexes: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "tableName": name,
        "indexes": [{"indexDescriptor": key, "fields": one} for key, one in indexes.items()],
        "searchIndexes": [],
        "vectorIndexes": [],
        "documentType": {"type": "object", "value": fields},
    }


def deployment(name: str) -> Deployment:
    """Give a deployment with what the documents' examples ask for."""
    return Deployment(
        name,
        tables={
            "users": [
                _example(),
                _user(f"{name}_ada", "Ada", "active", 2, created_at=10.0),
                _user(f"{name}_bob", "Bob", "inactive", 3, created_at=20.0),
            ],
            "messages": [
                {
                    "_id": f"{name}_message_{number}",
                    "_creationTime": _EPOCH_MS + number,
                    "body": f"Message {number}",
                    "author": EXAMPLE_ID if number % 2 else f"{name}_ada",
                }
                for number in range(1, 6)
            ],
            "empty": [],
        },
        schema=[
            _table(
                "users",
                {
                    "name": _field("string"),
                    "email": _field("string", optional=True),
                    "status": _field("string", optional=True),
                    "createdAt": _field("number", optional=True),
                },
                {"by_created_at": ["createdAt"], "by_status": ["status", "createdAt"]},
            ),
            _table("messages", {"body": _field("string"), "author": _field("string")}, {}),
        ],
    )


def _example() -> Document:
    return _user(EXAMPLE_ID, "John", "active", 1, created_at=30.0)


def _user(
    document_id: str, name: str, status: str, age: int, *, created_at: float
) -> dict[str, Any]:
    return {
        "_id": document_id,
        "_creationTime": _EPOCH_MS + age,
        "name": name,
        "email": f"{name.lower()}@example.com",
        "status": status,
        "createdAt": created_at,
    }
