"""Every function of Convex over real sockets: what goes out, what comes back, what is refused."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from core.calls import Effect, EffectClass
from integrations.accounts import AccountsFile
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault
from tests.convex_requests import MUTATION, QUERY, USER, sent
from tests.mux_runs import mux_run as vendor_run
from tests.shipped import CATALOG

pytestmark = pytest.mark.anyio


def filters(clauses: list[dict[str, Any]], **more: Any) -> str:
    """Give a filter expression as the dashboard encodes it."""
    expression = {"clauses": clauses, "order": "desc", **more}
    return base64.b64encode(orjson.dumps(expression)).decode()


def equals(field: str, value: Any) -> dict[str, Any]:
    """Give one clause of a filter."""
    return {"op": "eq", "field": field, "value": value, "enabled": True}


def paging(count: int = 100, cursor: str | None = None) -> dict[str, Any]:
    """Give the options of a page."""
    return {"numItems": count, "cursor": cursor}


SCHEMAS: tuple[str, Any] = (QUERY, ("_system/frontend/getSchemas", {}))
LOOK_UP = (
    QUERY,
    ("_system/frontend/listById", {"ids": [{"id": "doc_abc123", "tableName": "users"}]}),
)
DOCUMENTS = "_system/frontend/paginatedTableDocuments"


def page_of(clauses: str | None, count: int = 100, cursor: str | None = None) -> tuple[str, Any]:
    """Give the request for a page of users."""
    args = {"table": "users", "filters": clauses, "paginationOpts": paging(count, cursor)}
    return (QUERY, (DOCUMENTS, args))


FUNCTIONS: list[tuple[str, dict[str, Any], list[tuple[str, Any]]]] = [
    (
        "list_tables",
        {},
        [(QUERY, ("_system/cli/tables", {"paginationOpts": paging(10_000)}))],
    ),
    (
        "get_table",
        {"table": "users"},
        [
            SCHEMAS,
            ("GET /api/shapes2", None),
            (QUERY, ("_system/cli/tableSize", {"tableName": "users"})),
        ],
    ),
    (
        "get_table",
        {"table": "10001"},
        [
            (QUERY, ("_system/frontend/getTableMapping", {})),
            SCHEMAS,
            ("GET /api/shapes2", None),
            (QUERY, ("_system/cli/tableSize", {"tableName": "users"})),
        ],
    ),
    ("query_documents", {"table": "users"}, [page_of(None)]),
    ("query_documents", {"table": "users", "filter": {}, "limit": 7}, [page_of(None, 7)]),
    (
        "query_documents",
        {"table": "users", "filter": '{"status": "active"}', "limit": 50},
        [page_of(filters([equals("status", "active")]), 50)],
    ),
    (
        "query_documents",
        {"table": "users", "filter": {"status": "active", "createdAt": 10}},
        [page_of(filters([equals("status", "active"), equals("createdAt", 10)]))],
    ),
    (
        "query_documents",
        {"table": "users", "order": "_creationTime"},
        [page_of(filters([], order="asc"))],
    ),
    (
        "query_documents",
        {"table": "users", "order": "-_creationTime"},
        [page_of(filters([], order="desc"))],
    ),
    (
        "query_documents",
        {"table": "users", "order": "-createdAt"},
        [
            SCHEMAS,
            page_of(filters([], order="desc", index={"name": "by_created_at", "clauses": []})),
        ],
    ),
    (
        "query_documents",
        {"table": "users", "filter": {"name": "Ada"}, "order": "createdAt"},
        [
            SCHEMAS,
            page_of(
                filters(
                    [equals("name", "Ada")],
                    order="asc",
                    index={"name": "by_created_at", "clauses": []},
                )
            ),
        ],
    ),
    (
        "create_document",
        {"table": "users", "fields": '{"name": "John", "email": "john@example.com"}'},
        [
            (
                MUTATION,
                (
                    "_system/frontend/addDocument",
                    {
                        "table": "users",
                        "documents": [{"name": "John", "email": "john@example.com"}],
                    },
                ),
            )
        ],
    ),
    (
        "update_document",
        {**USER, "fields": {"name": "Jane"}},
        [
            LOOK_UP,
            (
                MUTATION,
                (
                    "_system/frontend/patchDocumentsFields",
                    {"table": "users", "ids": ["doc_abc123"], "fields": {"name": "Jane"}},
                ),
            ),
        ],
    ),
    (
        "delete_document",
        USER,
        [
            LOOK_UP,
            (
                MUTATION,
                (
                    "_system/frontend/deleteDocuments",
                    {"toDelete": [{"id": "doc_abc123", "tableName": "users"}]},
                ),
            ),
        ],
    ),
    ("get_current_user", {}, [("GET /api/v1/deployment_info", None)]),
]


@pytest.mark.parametrize("prefix", ["", "convex_"])
@pytest.mark.parametrize(("name", "given", "expected"), FUNCTIONS)
async def test_one_call_is_these_exact_requests(
    stubs: Stubs, name: str, given: dict[str, Any], expected: list[tuple[str, Any]], prefix: str
) -> None:
    """Paths, functions, arguments and the key are Convex's, under every documented name."""
    async with vendor_run(stubs) as run:
        await run.value(f"convex.{prefix}{name}", given)
    assert sent(stubs) == expected
    for seen in stubs["convex"].faults.seen:
        key = "dev:stub-default-123|stub-convex-default-key"
        assert seen.headers["authorization"] == f"Convex {key}"
    assert run.last.effect is Effect.SUCCEEDED
    writes = name.split("_", maxsplit=1)[0] in {"create", "update", "delete"}
    assert run.last.effect_class is (EffectClass.WRITE if writes else EffectClass.READ)


class TestReading:
    async def test_tables_are_named(self, stubs: Stubs) -> None:
        """The user's tables, under both names."""
        async with vendor_run(stubs) as run:
            value = await run.value("convex.list_tables", {})
        assert value["tables"] == value["data"]
        assert [one["name"] for one in value["tables"]] == ["empty", "messages", "users"]

    async def test_a_table_is_described(self, stubs: Stubs) -> None:
        """Schema, indexes, shape and size; a table without schema has its shape."""
        async with vendor_run(stubs) as run:
            users = await run.value("convex.get_table", {"table": "users"})
            empty = await run.value("convex.get_table", {"table": "empty"})
            stubs.convex.deployments["default"].schema = None
            bare = await run.value("convex.get_table", {"table": "users"})
        assert (users["name"], users["document_count"]) == ("users", 3)
        assert users["indexes"][0] == {"indexDescriptor": "by_created_at", "fields": ["createdAt"]}
        assert users["schema"]["tableName"] == "users"
        assert (empty["schema"], empty["indexes"], empty["shape"]) == (None, [], {"type": "Never"})
        assert bare["schema"] is None
        assert bare["shape"]["type"] == "Object"

    @pytest.mark.parametrize("table", ["nowhere", "99999"])
    async def test_an_unknown_table_is_not_found(self, stubs: Stubs, table: str) -> None:
        """By name or number; nothing is made up."""
        async with vendor_run(stubs) as run:
            error = await run.error("convex.get_table", {"table": table})
        assert error["code"] == "not_found"
        assert error["message"] == f"convex.get_table: there is no table {table}"

    @pytest.mark.parametrize(
        ("order", "names"),
        [
            (None, ["Bob", "Ada", "John"]),
            ("_creationTime", ["John", "Ada", "Bob"]),
            ("createdAt", ["Ada", "Bob", "John"]),
            ("-createdAt", ["John", "Bob", "Ada"]),
        ],
    )
    async def test_order_is_convexs_own(
        self, stubs: Stubs, order: str | None, names: list[str]
    ) -> None:
        """No prefix is ascending, `-` descending, nothing is newest first."""
        given = {"table": "users"} | ({"order": order} if order else {})
        async with vendor_run(stubs) as run:
            value = await run.value("convex.query_documents", given)
        assert [one["name"] for one in value["documents"]] == names
        assert value["data"] == value["documents"]
        assert (value["is_done"], value["cursor"]) == (True, None)

    async def test_an_order_without_index_is_refused(self, stubs: Stubs) -> None:
        """One sorted page would look right and be wrong; the error says what is possible."""
        async with vendor_run(stubs) as run:
            error = await run.error("convex.query_documents", {"table": "users", "order": "-email"})
        assert error["code"] == "unsupported_order"
        assert error["message"].endswith("users can be ordered by _creationTime, createdAt, status")
        assert sent(stubs) == [SCHEMAS]

    async def test_cursors_lead_to_the_end(self, stubs: Stubs) -> None:
        """Each document once, though pages come short or empty."""
        stubs.convex.rows_read = 1
        given: dict[str, Any] = {"table": "messages", "filter": {"author": "doc_abc123"}}
        bodies: list[str] = []
        pages = 0
        async with vendor_run(stubs) as run:
            value: dict[str, Any] = {"cursor": None, "is_done": False}
            while not value["is_done"]:
                more = {"cursor": value["cursor"]} if value["cursor"] else {}
                value = await run.value("convex.query_documents", {**given, **more})
                bodies += [one["body"] for one in value["documents"]]
                pages += 1
        assert bodies == ["Message 5", "Message 3", "Message 1"]
        assert pages == 5

    async def test_a_cursor_of_another_query_is_refused(self, stubs: Stubs) -> None:
        """Convex's own error, with a code to branch on."""
        async with vendor_run(stubs) as run:
            value = await run.value("convex.query_documents", {"table": "messages", "limit": 2})
            given = {"table": "users", "cursor": value["cursor"]}
            error = await run.error("convex.query_documents", given)
        assert error["code"] == "invalid_cursor"

    async def test_an_invalid_filter_is_an_error(self, stubs: Stubs) -> None:
        """Convex sends errors of filters as rows; no script shall take them for documents."""
        given = {"table": "users", "filter": {"name": {"$odd": 1}}}
        async with vendor_run(stubs) as run:
            error = await run.error("convex.query_documents", given)
        assert error["code"] == "invalid_filter"
        assert error["message"] == 'convex.query_documents: Invalid value: {"$odd":1}.'

    async def test_an_id_alone_is_looked_up(self, stubs: Stubs) -> None:
        """An id of another table gives an empty page."""
        async with vendor_run(stubs) as run:
            found = [
                await run.value(
                    "convex.query_documents", {"table": table, "filter": {"_id": "doc_abc123"}}
                )
                for table in ("users", "messages")
            ]
        assert [len(one["documents"]) for one in found] == [1, 0]

    async def test_the_deployment_stands_for_the_user(self, stubs: Stubs) -> None:
        """A name that is never nil, no email, and all that Convex says."""
        async with vendor_run(stubs) as run:
            names = [
                (await run.value("convex.get_current_user", {}, account=account))["name"]
                for account in (None, "default", "work", "staging", "production")
            ]
            value = await run.value("convex.get_current_user", {})
        assert names == [
            *("Stub default", "Stub default", "Stub work", "Stub staging", "Stub production"),
        ]
        assert value["email"] is None
        assert value["reference"] == "stub-default-123"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("get_table", {}, "table is missing"),
    ("get_table", {"table": "_tables"}, "table must match"),
    ("query_documents", {"table": "_storage"}, "table must match"),
    ("query_documents", {"table": "a/b"}, "table must match"),
    ("query_documents", {"table": "users", "limit": 1001}, "limit must be at most 1000"),
    ("query_documents", {"table": "users", "filter": "[1]"}, "filter must be a table"),
    ("query_documents", {"table": "users", "filter": "{"}, "filter"),
    (
        "query_documents",
        {"table": "users", "filter": "{]"},
        "filter must be a table with named keys",
    ),
    ("query_documents", {"table": "users", "filter": {"a.b": 1}}, "compares whole fields"),
    ("query_documents", {"table": "users", "ordr": "a"}, "did you mean: order"),
    ("query_documents", {"table": "users", "order": "a b"}, "order must match"),
    ("create_document", {"table": "users"}, "fields is missing"),
    (
        "create_document",
        {"table": "users", "fields": "nonsense"},
        "fields must be a table with named keys",
    ),
    ("create_document", {"table": "users", "fields": [1]}, "fields must be"),
    ("create_document", {"table": "users", "fields": {"_id": "x"}}, "such names are Convex's own"),
    ("create_document", {"table": "users", "fields": '{"": 1}'}, "such names are Convex's own"),
    ("update_document", {**USER, "fields": "{}"}, "fields must have 1 keys or more"),
    ("update_document", {**USER, "fields": '"x"'}, "fields must be a table"),
    ("delete_document", {"table": "users"}, "document_id is missing"),
    ("list_tables", {"x": 1}, "unknown parameter x"),
]


@pytest.mark.parametrize(("name", "given", "words"), REFUSED)
async def test_bad_arguments_send_nothing(
    stubs: Stubs, name: str, given: dict[str, Any], words: str
) -> None:
    """What does not fit is refused in words, before any request."""
    async with vendor_run(stubs) as run:
        error = await run.error(f"convex.{name}", given)
    assert error["code"] == "invalid_arguments"
    assert words in error["message"]
    assert "no external call was made" in error["message"]
    assert run.last.effect is Effect.FAILED
    assert sent(stubs) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ('{"a":' + "[" * 80 + "]" * 80 + "}", "nested deeper than 64 levels"),
        ('{"a":[' + "0," * 60_000 + "0]}", "more than 50000 values"),
    ],
)
async def test_json_text_has_the_bounds_of_tables(stubs: Stubs, fields: str, words: str) -> None:
    """What no table may hold, no text may hold either."""
    async with vendor_run(stubs) as run:
        given = {"table": "users", "fields": fields}
        error = await run.error("convex.create_document", given)
    assert error["code"] == "invalid_arguments"
    assert words in error["message"]
    assert sent(stubs) == []


class TestErrors:
    async def test_a_wrong_key_is_explained(self, stubs: Stubs) -> None:
        """Convex's code and words, our hint, and no key."""
        toml = stubs.accounts_toml.replace("stub-convex-default-key", "wrong-key-canary")
        accounts = AccountsFile.parse(toml, CATALOG, {}).for_tenant(None)
        async with vendor_run(stubs, accounts=accounts) as run:
            error = await run.error("convex.list_tables", {})
        assert (error["status"], error["code"]) == (403, "BadDeployKey")
        assert error["message"].startswith(
            "convex.list_tables: 403 BadDeployKey: The provided deploy key was invalid"
        )
        assert "canary" not in repr(error)

    async def test_a_function_that_is_gone_says_so(self, stubs: Stubs) -> None:
        """Convex may change its internal functions; the error is one of a function."""
        gone = {"status": "error", "errorMessage": "Could not find public function for 'x'."}
        fault = Fault("answer", QUERY, status=200, body=orjson.dumps(gone))
        stubs["convex"].faults.add(fault)
        async with vendor_run(stubs) as run:
            error = await run.error("convex.list_tables", {})
        assert error["code"] == "function_error"
        assert error["message"] == ("convex.list_tables: Could not find public function for 'x'.")

    async def test_too_many_at_once_is_waited_for(self, stubs: Stubs) -> None:
        """Reading waits; writing is told."""
        stubs.convex.requests_per_s = 1
        async with vendor_run(stubs) as run:
            await run.value("convex.list_tables", {})
            stubs.convex.requests_per_s = 0  # used up, however long this machine takes
            error = await run.error("convex.create_document", {"table": "t", "fields": {"a": 1}})
            stubs.convex.requests_per_s = None
            stubs["convex"].faults.add(Fault("answer", QUERY, status=429))
            await run.value("convex.list_tables", {})
        assert stubs["convex"].faults.counts[QUERY] == 3
        assert (error["code"], error["status"]) == ("TooManyConcurrentRequests", 429)
        assert error["retriable"] is True
