"""The `_system` functions of Convex that its dashboard and command line call, as they behave."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
from collections.abc import Callable
from typing import Any

import orjson

from integrations.stubs.convex_data import Deployment, Document

_MOST_WRITES = 4096
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda left, right: bool(left == right),
    "neq": lambda left, right: bool(left != right),
    "gt": lambda left, right: _same(left, right) and left > right,
    "gte": lambda left, right: _same(left, right) and left >= right,
    "lt": lambda left, right: _same(left, right) and left < right,
    "lte": lambda left, right: _same(left, right) and left <= right,
    "anyOf": lambda left, right: left in right,
    "noneOf": lambda left, right: left not in right,
}


class FunctionFailed(Exception):
    """A function threw. `data` is what a ConvexError carries."""

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


def _convex_error(text: str) -> FunctionFailed:
    return FunctionFailed(f"Uncaught ConvexError: {text}", text)


def _arguments(given: Any, **kinds: type | tuple[type, ...]) -> list[Any]:
    """Hold arguments to a function's validator: all there, of their types, and no others."""
    if not isinstance(given, dict):
        raise FunctionFailed("ArgumentValidationError: Object expected")
    for name in given:
        if name not in kinds:
            message = f"ArgumentValidationError: Object contains extra field `{name}`"
            raise FunctionFailed(f"{message} that is not in the validator.")
    for name, kind in kinds.items():
        if name not in given and type(None) not in (kind if isinstance(kind, tuple) else ()):
            message = f"ArgumentValidationError: Object is missing the required field `{name}`"
            raise FunctionFailed(f"{message}. Consider wrapping the field validator in v.optional.")
        if not isinstance(given.get(name), kind):
            raise FunctionFailed(f"ArgumentValidationError: Value does not match `{name}`.")
    return [given.get(name) for name in kinds]


_NULLABLE_TEXT = (str, type(None))


def tables(home: Deployment, args: Any) -> Any:
    """`_system/cli/tables`: names of the user's tables."""
    (paging,) = _arguments(args, paginationOpts=dict)
    rows = [{"name": name} for name in sorted(home.tables)]
    return _paginate(rows, paging, "tables", rows_read=10_000)


def table_size(home: Deployment, args: Any) -> Any:
    """`_system/cli/tableSize`: how many documents a table has."""
    (name,) = _arguments(args, tableName=str)
    return len(home.tables.get(name, ()))


def schemas(home: Deployment, args: Any) -> Any:
    """`_system/frontend/getSchemas`: the active schema as JSON text, when there is one."""
    _arguments(args)
    active = home.active_schema()
    return {} if active is None else {"active": active}


def table_mapping(home: Deployment, args: Any) -> Any:
    """`_system/frontend/getTableMapping`: table numbers and their names."""
    _arguments(args)
    return {str(10_001 + number): name for number, name in enumerate(home.tables)}


def list_by_id(home: Deployment, args: Any) -> Any:
    """`_system/frontend/listById`: each document, or null when it is not one of that table."""
    (ids,) = _arguments(args, ids=list)
    wanted = [_arguments(one, id=str, tableName=str) for one in ids]
    return [home.get(table, document_id) for document_id, table in wanted]


def documents(home: Deployment, args: Any, *, rows_read: int = 10_000) -> Any:
    """`_system/frontend/paginatedTableDocuments`: filtered, ordered, a page at a time."""
    table, encoded, paging = _arguments(
        args, table=str, filters=_NULLABLE_TEXT, paginationOpts=dict
    )
    expression = _decoded(encoded)
    clauses = [one for one in expression["clauses"] if one.get("enabled", True)]
    if wrong := [one for one in enumerate(clauses) if _odd(one[1].get("value"))]:
        errors = [
            {"filter": index, "error": f"Invalid value: {orjson.dumps(one['value']).decode()}."}
            for index, one in wrong
        ]
        return {"page": errors, "isDone": True, "continueCursor": ""}
    if len(clauses) == 1 and (clauses[0]["field"], clauses[0]["op"]) == ("_id", "eq"):
        found = home.get(table, str(clauses[0]["value"]))
        return {"page": [found] if found else [], "isDone": True, "continueCursor": ""}
    rows = _ordered(home, table, expression)
    query = hashlib.sha256(orjson.dumps([table, expression])).hexdigest()[:16]
    return _paginate(rows, paging, query, rows_read, lambda row: _matches(row, clauses))


def _odd(value: Any) -> bool:
    """Convex JSON has no keys that begin with a dollar sign but its own."""
    return isinstance(value, dict) and any(key.startswith("$") for key in value)


def _decoded(encoded: str | None) -> dict[str, Any]:
    if encoded is None:
        return {"clauses": []}
    try:
        expression: Any = orjson.loads(base64.b64decode(encoded, validate=True))
    except (binascii.Error, orjson.JSONDecodeError):
        raise FunctionFailed("Uncaught SyntaxError: filters is not base64 of JSON") from None
    known = isinstance(expression, dict) and isinstance(expression.get("clauses"), list)
    if not known or expression.get("order", "desc") not in {"asc", "desc"}:
        raise FunctionFailed("Uncaught ZodError: Invalid filter expression")
    for clause in expression["clauses"]:
        if not isinstance(clause, dict) or clause.get("op") not in _COMPARISONS:
            raise FunctionFailed("Uncaught ZodError: Invalid input: clauses")
    found: dict[str, Any] = expression
    return found


def _ordered(home: Deployment, table: str, expression: dict[str, Any]) -> list[Document]:
    rows = list(home.tables.get(table, ()))
    fields = ["_creationTime"]
    if index := expression.get("index"):
        declared = home.table_schema(table) or {"indexes": []}
        by_name = {one["indexDescriptor"]: one["fields"] for one in declared["indexes"]}
        if index["name"] not in by_name:
            raise FunctionFailed(f"Uncaught Error: Index {index['name']} does not exist.")
        fields = [*by_name[index["name"]], "_creationTime"]
    # A missing value stands before all others.
    rows.sort(key=lambda row: [(one in row, row.get(one, 0)) for one in fields])
    return rows if expression.get("order", "desc") == "asc" else rows[::-1]


def _matches(row: Document, clauses: list[dict[str, Any]]) -> bool:
    return all(_COMPARISONS[one["op"]](row.get(one["field"]), one["value"]) for one in clauses)


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right)


def _paginate(
    rows: list[Any],
    paging: dict[str, Any],
    query: str,
    rows_read: int,
    wanted: Callable[[Any], bool] = lambda _: True,
) -> dict[str, Any]:
    """Give a page: as many wanted rows as asked for, or fewer when too many had to be read."""
    count, cursor = _arguments(paging, numItems=(int, float), cursor=_NULLABLE_TEXT)
    start = 0
    if cursor is not None:
        of, _, place = cursor.partition(":")
        if of != query or not place.isdigit():
            raise FunctionFailed(
                "InvalidCursor: Tried to run a query starting from a cursor, but it looks like"
                " this cursor is from a different query."
            )
        start = int(place)
    page: list[Any] = []
    end = start
    for row in itertools.islice(rows, start, start + rows_read):
        if len(page) >= count:
            break
        end += 1
        if wanted(row):
            page.append(row)
    return {"page": page, "isDone": end >= len(rows), "continueCursor": f"{query}:{end}"}


def add_document(home: Deployment, args: Any) -> Any:
    """`_system/frontend/addDocument`: adds documents, and gives no id."""
    table, added = _arguments(args, table=str, documents=list)
    if len(added) > _MOST_WRITES:
        error = f"Can't import more than {_MOST_WRITES} documents at once."
        return {"success": False, "error": error}
    for document in added:
        _check_document(home, table, document)
    for document in added:
        home.insert(table, document)
    home.audit.append(("add_documents", table))
    return {"success": True}


def patch_fields(home: Deployment, args: Any) -> Any:
    """`_system/frontend/patchDocumentsFields`: without `ids`, every document of the table."""
    table, fields, ids = _arguments(args, table=str, fields=dict, ids=(list, type(None)))
    if ids is None:
        found: list[tuple[str, Document] | None] = [(table, one) for one in home.tables[table]]
    else:
        found = [home.find(one) for one in ids]
    for one in found:
        if one is None:
            raise _convex_error("Cannot read properties of null (reading '_id')")
        _check_document(home, one[0], {**one[1], **fields})
    for one in found:
        if one is not None:
            one[1].update(fields)
    home.audit.append(("update_documents", ids))
    return {"success": True}


def delete_documents(home: Deployment, args: Any) -> Any:
    """`_system/frontend/deleteDocuments`: looks at the id only, never at the table's name."""
    (chosen,) = _arguments(args, toDelete=list)
    if len(chosen) > _MOST_WRITES:
        error = f"You can't delete more than {_MOST_WRITES}. Try selecting fewer documents instead."
        return {"success": False, "error": error}
    for one in chosen:
        document_id, _ = _arguments(one, id=str, tableName=str)
        found = home.find(document_id)
        if found is None:
            raise FunctionFailed(f"Uncaught Error: Delete on nonexistent document ID {document_id}")
        home.tables[found[0]].remove(found[1])
    home.audit.append(("delete_documents", chosen))
    return {"success": True}


def _check_document(home: Deployment, table: str, document: Any) -> None:
    if not isinstance(document, dict) or table.startswith("_"):
        raise _convex_error("Value must be an Object")
    declared = home.fields_of(table)
    if not declared or not home.schema_validation:
        return
    kinds: dict[str, type | tuple[type, ...]] = {"string": str, "number": (int, float)}
    head = f'Failed to insert or update a document in table "{table}" because it does not match'
    for name, rule in declared.items():
        if name not in document and not rule["optional"]:
            raise _convex_error(
                f"{head} the schema: Object is missing the required field `{name}`."
            )
        wanted = kinds[rule["fieldType"]["type"]]
        if name in document and not isinstance(document[name], wanted):
            raise _convex_error(
                f"{head} the schema: Value does not match validator.\nPath: .{name}"
            )
    for name in document:
        if name not in declared and name not in {"_id", "_creationTime"}:
            raise _convex_error(f"{head} the schema: Object contains extra field `{name}`.")


QUERIES: dict[str, Callable[[Deployment, Any], Any]] = {
    "_system/cli/tables": tables,
    "_system/cli/tableSize": table_size,
    "_system/frontend/getSchemas": schemas,
    "_system/frontend/getTableMapping": table_mapping,
    "_system/frontend/listById": list_by_id,
}
MUTATIONS: dict[str, Callable[[Deployment, Any], Any]] = {
    "_system/frontend/addDocument": add_document,
    "_system/frontend/patchDocumentsFields": patch_fields,
    "_system/frontend/deleteDocuments": delete_documents,
}
