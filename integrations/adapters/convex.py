"""
Convex: tables and documents, through the functions that its dashboard and command line call.

Convex has no public API for them. These functions are internal and unversioned; all that is known
of them stands in this file. They trust their caller: a patch without ids changes a whole table,
and an id of another table is taken without a word. So every change here names exactly one id, and
looks first whether it is one of that table.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Literal

import orjson

from core.calls import Effect
from integrations.adapters import Send
from integrations.request_parts import RequestParts

TABLES = "_system/cli/tables"
TABLE_SIZE = "_system/cli/tableSize"
SCHEMAS = "_system/frontend/getSchemas"
TABLE_NUMBERS = "_system/frontend/getTableMapping"
DOCUMENTS = "_system/frontend/paginatedTableDocuments"
BY_ID = "_system/frontend/listById"
ADD = "_system/frontend/addDocument"
PATCH = "_system/frontend/patchDocumentsFields"
DELETE = "_system/frontend/deleteDocuments"

_CREATED = "_creationTime"
_MOST_PAGES = 5
_ALL_TABLES = 10_000


async def list_tables(_: dict[str, Any], send: Send) -> Any:
    """Give every table of the user's."""
    rows: list[Any] = []
    cursor = None
    for _page in range(_MOST_PAGES):
        paging = {"cursor": cursor, "numItems": _ALL_TABLES}
        value = await _function(send, "query", TABLES, {"paginationOpts": paging})
        page, cursor = _page_of(value, send)
        rows += page
        if cursor is None:
            break
    return {"tables": rows, "data": rows}


async def get_table(arguments: dict[str, Any], send: Send) -> Any:
    """Give what the schema and the documents say about a table."""
    name = arguments["table"]
    if name.isdigit():
        numbers = await _function(send, "query", TABLE_NUMBERS, {})
        known = numbers.get(name) if isinstance(numbers, dict) else None
        if not isinstance(known, str) or known.startswith("_"):
            raise send.failed("not_found", f"there is no table {name}")
        name = known
    schema = await _table_schema(send, name)
    shapes = await send(RequestParts("GET", "/api/shapes2"))
    if not isinstance(shapes, dict):
        raise send.failed("invalid_reply", "the reply has no shapes")
    if schema is None and name not in shapes:
        raise send.failed("not_found", f"there is no table {name}")
    size = await _function(send, "query", TABLE_SIZE, {"tableName": name})
    described = schema or {}
    return {
        "name": name,
        "schema": schema,
        "indexes": described.get("indexes", []),
        "search_indexes": described.get("searchIndexes", []),
        "vector_indexes": described.get("vectorIndexes", []),
        "shape": shapes.get(name),
        "document_count": size if isinstance(size, int | float) else None,
    }


async def query_documents(arguments: dict[str, Any], send: Send) -> Any:
    """Give one page of documents."""
    table = arguments["table"]
    clauses = [
        {"op": "eq", "field": name, "value": value, "enabled": True}
        for name, value in arguments.get("filter", {}).items()
    ]
    if dotted := next((one["field"] for one in clauses if "." in str(one["field"])), None):
        raise send.refuse(f"filter compares whole fields, and `{dotted[:64]}` reaches into one")
    expression: dict[str, Any] = {"clauses": clauses, "order": "desc"}
    if "order" in arguments:
        expression |= await _order(table, arguments["order"], send)
    plain = not clauses and "order" not in arguments
    args = {
        "table": table,
        "filters": None if plain else base64.b64encode(orjson.dumps(expression)).decode(),
        "paginationOpts": {
            "numItems": arguments["limit"],
            "cursor": arguments.get("cursor"),
        },
    }
    page, cursor = _page_of(await _function(send, "query", DOCUMENTS, args), send)
    for row in page:
        # Errors of a filter come back as rows.
        if isinstance(row, dict) and "_id" not in row and "error" in row and "filter" in row:
            raise send.failed("invalid_filter", str(row["error"]))
    return {"documents": page, "data": page, "cursor": cursor, "is_done": cursor is None}


async def create_document(arguments: dict[str, Any], send: Send) -> Any:
    """Add one document."""
    fields = _own_fields(arguments, send)
    args = {"table": arguments["table"], "documents": [fields]}
    await _change(send, ADD, args)
    return {"success": True}


async def update_document(arguments: dict[str, Any], send: Send) -> Any:
    """Change fields of one document of the table."""
    fields = _own_fields(arguments, send)
    document_id = await _existing(arguments, send)
    # Without ids this function would change every document of the table.
    await _change(
        send, PATCH, {"table": arguments["table"], "ids": [document_id], "fields": fields}
    )
    return {"success": True, "id": document_id}


async def delete_document(arguments: dict[str, Any], send: Send) -> Any:
    """Delete one document of the table."""
    document_id = await _existing(arguments, send)
    chosen = {"id": document_id, "tableName": arguments["table"]}
    await _change(send, DELETE, {"toDelete": [chosen]})
    return {"success": True, "id": document_id}


async def get_current_user(_: dict[str, Any], send: Send) -> Any:
    """Give what there is in place of a user: the deployment."""
    reply = await send(RequestParts("GET", "/api/v1/deployment_info"))
    if not isinstance(reply, dict):
        raise send.failed("invalid_reply", "the reply has no deployment")
    names = (reply.get(key) for key in ("projectName", "reference", "kind"))
    name = next((one for one in names if isinstance(one, str) and one), "unknown")
    return {**reply, "name": name, "email": None}


async def _function(
    send: Send, kind: Literal["query", "mutation"], path: str, args: Mapping[str, Any]
) -> Any:
    """Call a function and give its value."""
    body = {"path": path, "args": args, "format": "json"}
    write = kind == "mutation"
    reply = await send(RequestParts("POST", f"/api/{kind}", body=body, write=write))
    status = reply.get("status") if isinstance(reply, dict) else None
    if status == "success":
        return reply.get("value")
    if status == "error":
        # A mutation that throws is rolled back as a whole.
        raise send.failed(*_thrown(reply), effect=Effect.FAILED)
    effect = Effect.UNKNOWN if write else Effect.FAILED
    raise send.failed("invalid_reply", "the reply does not say what became of it", effect=effect)


def _thrown(reply: Mapping[str, Any]) -> tuple[str, str]:
    """Give code and words for an error of a function; a ConvexError carries its own words."""
    data = reply.get("errorData")
    words = data if isinstance(data, str) else reply.get("errorMessage")
    text = words if isinstance(words, str) and words else "the function failed"
    if "InvalidCursor" in text:
        return "invalid_cursor", text
    if "Cannot read properties of null" in text or "nonexistent document" in text:
        return "not_found", "the document is not there any more; nothing was changed"
    return ("validation" if isinstance(data, str) else "function_error"), text


async def _change(send: Send, path: str, args: Mapping[str, Any]) -> None:
    value = await _function(send, "mutation", path, args)
    done = value.get("success") if isinstance(value, dict) else None
    if done is False:
        said = value.get("error")
        words = said if isinstance(said, str) and said else "Convex did not do it"
        raise send.failed("validation", words, effect=Effect.FAILED)
    if done is not True:
        raise send.failed("invalid_reply", "the reply does not say what was done")


async def _existing(arguments: Mapping[str, Any], send: Send) -> str:
    """Give the document's id when it is one of the table."""
    table, document_id = str(arguments["table"]), str(arguments["document_id"])
    chosen = [{"id": document_id, "tableName": table}]
    found = await _function(send, "query", BY_ID, {"ids": chosen})
    if not isinstance(found, list) or len(found) != 1:
        raise send.failed("invalid_reply", "the reply is not about one document")
    if found[0] is None:
        raise send.failed(
            "not_found", f"{table} has no document {document_id}; nothing was changed"
        )
    if not isinstance(found[0], dict) or found[0].get("_id") != document_id:
        raise send.failed("invalid_reply", "the reply is about another document")
    return document_id


async def _table_schema(send: Send, table: str) -> dict[str, Any] | None:
    """Give what the active schema says of a table."""
    schemas = await _function(send, "query", SCHEMAS, {})
    active = schemas.get("active") if isinstance(schemas, dict) else None
    if not isinstance(active, str):
        return None
    try:
        parsed = orjson.loads(active)
    except orjson.JSONDecodeError:
        raise send.failed("invalid_reply", "the schema is not JSON") from None
    tables = parsed.get("tables") if isinstance(parsed, dict) else None
    for one in tables if isinstance(tables, list) else ():
        if isinstance(one, dict) and one.get("tableName") == table:
            return one
    return None


async def _order(table: str, order: str, send: Send) -> dict[str, Any]:
    """Give the order as Convex can follow it: by creation, or by an index that begins so."""
    direction = "desc" if order.startswith("-") else "asc"
    wanted = order.removeprefix("-")
    if wanted == _CREATED:
        return {"order": direction}
    indexes = ((await _table_schema(send, table)) or {}).get("indexes")
    by_field: dict[str, str] = {}
    for one in indexes if isinstance(indexes, list) else ():
        fields = one.get("fields") if isinstance(one, dict) else None
        if isinstance(fields, list) and fields and isinstance(one.get("indexDescriptor"), str):
            by_field.setdefault(str(fields[0]), one["indexDescriptor"])
    if wanted in by_field:
        return {"order": direction, "index": {"name": by_field[wanted], "clauses": []}}
    possible = ", ".join([_CREATED, *by_field])
    raise send.failed(
        "unsupported_order",
        f'unsupported order: no index on "{wanted}"; {table} can be ordered by {possible}',
    )


def _page_of(value: Any, send: Send) -> tuple[list[Any], str | None]:
    """Give the rows of a page and the cursor after it, None at the end."""
    page = value.get("page") if isinstance(value, dict) else None
    if not isinstance(page, list):
        raise send.failed("invalid_reply", "the reply has no page")
    if value.get("isDone") is True:
        return page, None
    cursor = value.get("continueCursor")
    if not isinstance(cursor, str) or not cursor:
        raise send.failed("invalid_reply", "the reply does not say how to go on")
    return page, cursor


def _own_fields(arguments: Mapping[str, Any], send: Send) -> dict[str, Any]:
    fields: dict[str, Any] = arguments["fields"]
    odd = next((one for one in fields if not one or one[0] in "_$"), None)
    if odd is not None:
        raise send.refuse(f"fields must not have `{odd[:64]}`: such names are Convex's own")
    return fields
