"""Mixpeek: every example in the real jail, and what goes over the wire."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from integrations.accounts import AccountsFile
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault
from tests.example_runs import check_documentation, check_example, names_of
from tests.mux_runs import mux_run as vendor_run
from tests.shipped import CATALOG

#: What each prints, whole, or how it begins when it ends in `...`.
PRINTED = {
    "create_connection": "Mux Production\tACTIVE\n",
    "create_bucket_and_sync": "mux-videos\tPENDING\n",
    "webhook_secret": "conn_mux\n",
    "file_filters": "1000000\n",
    "metadata_filters": "1\n",
    "reconcile": "true\n",
    "lifecycle": ("true\ntrue\nACTIVE\n1\nlifecycle\n1\nPENDING\ntrue\nabc123xyz\nARCHIVED\n"),
    "docs_read": "# Mixpeek — Lua API Reference\n...",
}


def test_every_example_has_an_expectation() -> None:
    """A new file is not left out of the test below."""
    assert names_of("mixpeek") == set(PRINTED)


@pytest.mark.jail
@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_should(stubs: Stubs, name: str) -> None:
    """It succeeds, and its output is the same every time."""
    check_example(stubs, "mixpeek", name, PRINTED[name])


@pytest.mark.jail
def test_the_documentation_keeps_its_word(stubs: Stubs) -> None:
    """Every Lua block of the page scripts read runs as it stands."""
    check_documentation(stubs, "mixpeek", blocks_of_guide=1)


async def sent(stubs: Stubs, name: str, arguments: dict[str, Any]) -> tuple[dict[str, str], Any]:
    """Make a call that succeeds; give headers and body that were sent."""
    async with vendor_run(stubs) as run:
        await run.value(f"mixpeek.{name}", arguments)
    (seen,) = stubs["mixpeek"].faults.seen
    return seen.headers, orjson.loads(seen.body) if seen.body else None


async def test_the_type_of_a_bucket_becomes_its_schema(stubs: Stubs) -> None:
    """The short form of the SDK's documents is what the HTTP API takes."""
    given = {"bucket_name": "videos-2", "blob_type": "video"}
    headers, body = await sent(stubs, "create_bucket", given)
    assert headers["authorization"] == "Bearer sk_stub_mixpeek_default"
    assert headers["x-namespace"] == "ns-default"
    schema = {"properties": {"video": {"type": "video"}}}
    assert body == {"bucket_name": "videos-2", "bucket_schema": schema}


async def test_organizations_have_no_namespace(stubs: Stubs) -> None:
    """Connections belong to the organization: the header is not sent."""
    headers, body = await sent(stubs, "list_connections", {})
    assert "x-namespace" not in headers
    assert body == {}


async def test_a_retriever_is_asked_in_the_namespace(stubs: Stubs) -> None:
    """Inputs and pagination go as they were given; an unknown retriever is the vendor's 404."""
    pagination = {"method": "cursor", "limit": 1}
    given = {"retriever_id": "ret_videos", "inputs": {"query_text": "x"}, "pagination": pagination}
    headers, body = await sent(stubs, "execute_retriever", given)
    assert (headers["x-namespace"], body) == (
        "ns-default",
        {"inputs": {"query_text": "x"}, "pagination": pagination},
    )
    async with vendor_run(stubs) as run:
        error = await run.error("mixpeek.execute_retriever", {"retriever_id": "no-such"})
    assert (error["code"], error["status"]) == ("NotFoundError", 404)


async def test_sizes_have_both_names_and_paths_a_default(stubs: Stubs) -> None:
    """The documents' `min_size` is sent as the API's `min_size_bytes`."""
    filters = {"min_size": 5, "max_size_bytes": 9, "metadata_filters": {}}
    given = {"bucket_id": "bkt_videos", "connection_id": "conn_mux", "file_filters": filters}
    _, body = await sent(stubs, "create_sync", given)
    assert body == {
        "connection_id": "conn_mux",
        "source_path": "mux://",
        "sync_mode": "continuous",
        "file_filters": {"min_size_bytes": 5, "max_size_bytes": 9, "metadata_filters": []},
    }


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"field": "a", "operator": "like", "value": "b"}, 'must be "equals", "not_equals"'),
        ({"operator": "exists"}, "field is missing"),
        (
            {"field": "a", "operator": "equals", "value": {"b": 1}},
            "value must be true or false, a number or a string",
        ),
        ({"field": "a", "op": "equals"}, "must not have op"),
    ],
)
async def test_a_bad_filter_is_refused_before_it_is_sent(
    stubs: Stubs, rule: dict[str, Any], problem: str
) -> None:
    """A rule nobody could evaluate makes no sync."""
    given = {"bucket_id": "b", "connection_id": "c", "file_filters": {"metadata_filters": [rule]}}
    async with vendor_run(stubs) as run:
        error = await run.error("mixpeek.create_sync", given)
    assert problem in error["message"]
    assert not stubs["mixpeek"].faults.seen


@pytest.mark.parametrize("given", [{}, {"blob_type": "video", "bucket_schema": {}}])
async def test_one_of_schema_and_type(stubs: Stubs, given: dict[str, Any]) -> None:
    """Neither or both is an error of the script, and nothing is sent."""
    async with vendor_run(stubs) as run:
        error = await run.error("mixpeek.create_bucket", {"name": "x", **given})
    assert error["code"] == "invalid_arguments"
    assert "give exactly one of blob_type and bucket_schema" in error["message"]
    assert not stubs["mixpeek"].faults.seen


async def test_both_error_shapes_are_read(stubs: Stubs) -> None:
    """Mixpeek's own, and that of its framework."""
    body = {"detail": [{"loc": ["body", "a"], "msg": "one"}, {"msg": "two"}]}
    stubs["mixpeek"].faults.add(Fault("answer", status=422, body=orjson.dumps(body)))
    async with vendor_run(stubs) as run:
        first = await run.error("mixpeek.get_bucket", {"bucket_id": "x"})
        second = await run.error("mixpeek.get_bucket", {"bucket_id": "x"})
    assert (first["code"], first["message"]) == (
        "invalid",
        "mixpeek.get_bucket: 422 invalid: one; two",
    )
    assert (second["code"], second["status"]) == ("NotFoundError", 404)


async def test_a_namespace_comes_from_somewhere(stubs: Stubs) -> None:
    """Without one in account and call nothing is sent; one in the call is enough."""
    toml = stubs.accounts_toml.replace('namespace = "ns-default"\n', "")
    accounts = AccountsFile.parse(toml, CATALOG, {}).for_tenant(None)
    async with vendor_run(stubs, accounts=accounts) as run:
        error = await run.error("mixpeek.list_buckets", {})
        assert error["code"] == "incomplete_account"
        assert not stubs["mixpeek"].faults.seen
        await run.value("mixpeek.list_buckets", {"namespace": "ns-default"})


async def test_secrets_of_storage_are_not_previewed(stubs: Stubs) -> None:
    """The tape shows what was asked without Mux's secrets."""
    credentials = {
        "type": "access_token", "access_token_id": "canary-id",
        "access_token_secret": "canary-secret", "webhook_secret": "canary-hook",
    }  # fmt: skip
    given = {
        "name": "n",
        "provider_type": "mux",
        "provider_config": orjson.dumps({"credentials": credentials}).decode(),
    }
    async with vendor_run(stubs) as run:
        await run.value("mixpeek.create_connection", given)
        assert "canary" not in "".join(str(entry) for entry in run.tape.entries)
