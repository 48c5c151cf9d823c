"""Changes at Convex: exactly one document of its table, done once, and known whether it was."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from core.calls import Effect
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault, FaultKind
from sandbox.calls import EndRun
from sandbox.outcome import Reason
from tests.convex_requests import MUTATION, QUERY, USER, sent
from tests.mux_runs import mux_run as vendor_run

pytestmark = pytest.mark.anyio


class TestWriting:
    async def test_what_is_created_is_there(self, stubs: Stubs) -> None:
        """Convex tells no id; the document can be found."""
        async with vendor_run(stubs) as run:
            made = await run.value(
                "convex.create_document", {"table": "fresh", "fields": {"a": {}, "b": []}}
            )
            found = await run.value("convex.query_documents", {"table": "fresh"})
        assert made == {"success": True}
        assert len(found["documents"]) == 1

    async def test_one_document_changes_and_no_other(self, stubs: Stubs) -> None:
        """Other fields stay, and so do all other documents of the deployment."""
        home = stubs.convex.deployments["default"]
        before = copy.deepcopy(home.tables)
        async with vendor_run(stubs) as run:
            value = await run.value("convex.update_document", {**USER, "fields": {"name": "Jane"}})
        assert value == {"success": True, "id": "doc_abc123"}
        before["users"][0]["name"] = "Jane"
        assert home.tables == before

    async def test_every_patch_names_exactly_one_id(self, stubs: Stubs) -> None:
        """Without ids Convex changes the whole table: no call, however odd, goes out like that."""
        odd: list[Any] = ["", " ", None, [], ["doc_abc123"], {}, 0, False, "a b", "\x00", "doc/abc"]
        async with vendor_run(stubs) as run:
            for document_id in odd:
                given = {"table": "users", "document_id": document_id, "fields": {"name": "x"}}
                assert (await run.error("convex.update_document", given))["code"] == (
                    "invalid_arguments"
                )
                del given["fields"]
                assert (await run.error("convex.delete_document", given))["code"] == (
                    "invalid_arguments"
                )
            assert sent(stubs) == []
            await run.value("convex.update_document", {**USER, "fields": {"name": "x"}})
        patches = [body[1] for line, body in sent(stubs) if line == MUTATION]
        assert [one["ids"] for one in patches] == [["doc_abc123"]]
        names = [one["name"] for one in stubs.convex.deployments["default"].tables["users"]]
        assert names == ["x", "Ada", "Bob"]

    @pytest.mark.parametrize(("table", "document_id"), [
        ("messages", "doc_abc123"), ("users", "nobody"), ("nowhere", "doc_abc123"),
    ])  # fmt: skip
    @pytest.mark.parametrize("name", ["update_document", "delete_document"])
    async def test_a_document_of_another_table_is_never_touched(
        self, stubs: Stubs, name: str, table: str, document_id: str
    ) -> None:
        """Convex itself would take the id and ignore the table."""
        given: dict[str, Any] = {"table": table, "document_id": document_id}
        if name == "update_document":
            given["fields"] = {"name": "x"}
        async with vendor_run(stubs) as run:
            error = await run.error(f"convex.{name}", given)
        assert error["code"] == "not_found"
        assert error["message"].endswith("; nothing was changed")
        assert run.last.effect is Effect.FAILED
        assert stubs.convex.deployments["default"].audit == []
        assert [line for line, _ in sent(stubs)] == [QUERY]

    @pytest.mark.parametrize("status", [200, 560])
    async def test_the_schema_is_held(self, stubs: Stubs, status: int) -> None:
        """What the schema does not allow is `validation`, in Convex's words; nothing was done."""
        stubs.convex.thrown_status = status
        async with vendor_run(stubs) as run:
            error = await run.error(
                "convex.create_document", {"table": "users", "fields": '{"name": 5}'}
            )
        assert (error["code"], error["status"]) == ("validation", status)
        assert error["message"].startswith(
            "convex.create_document: Failed to insert or update a document in table"
            ' "users" because it does not match the schema'
        )
        assert run.last.effect is Effect.FAILED

    async def test_a_key_that_may_only_read(self, stubs: Stubs) -> None:
        """Reading works, writing is refused with a hint."""
        stubs.convex.read_only = {"default"}
        async with vendor_run(stubs) as run:
            error = await run.error("convex.delete_document", USER)
        assert (error["status"], error["code"]) == (403, "ReadOnlyAdminKey")
        assert "may do this" in error["message"]
        assert run.last.effect is Effect.FAILED


class TestFaults:
    WRITES = (
        ("create_document", {"table": "users", "fields": {"name": "x"}}),
        ("update_document", {**USER, "fields": {"name": "x"}}),
        ("delete_document", USER),
    )

    @pytest.mark.parametrize("kind", ["drop", "refuse"])
    @pytest.mark.parametrize(("name", "given"), WRITES)
    async def test_a_change_may_have_been_made(
        self, stubs: Stubs, name: str, given: dict[str, Any], kind: FaultKind
    ) -> None:
        """Done or not looks the same from here: unknown, sent once, and the run ends."""
        stubs["convex"].faults.add(Fault(kind, MUTATION, times=9))
        async with vendor_run(stubs) as run:
            end = await run.answer(f"convex.{name}", given)
        assert isinstance(end, EndRun)
        assert end.reason is Reason.EFFECT_UNKNOWN
        assert len(stubs.convex.deployments["default"].audit) == (1 if kind == "drop" else 0)
        assert stubs["convex"].faults.counts[MUTATION] == 1
        assert run.last.effect is Effect.UNKNOWN

    @pytest.mark.parametrize(("name", "given"), WRITES[1:])
    async def test_a_lost_look_is_repeated_and_changes_nothing(
        self, stubs: Stubs, name: str, given: dict[str, Any]
    ) -> None:
        """Looking first is reading: lost once it is done again; lost always, it failed."""
        stubs["convex"].faults.add(Fault("drop", QUERY))
        async with vendor_run(stubs) as run:
            await run.value(f"convex.{name}", given)
            stubs.reset()
            stubs["convex"].faults.add(Fault("drop", QUERY, times=9))
            error = await run.error(f"convex.{name}", given)
        assert error["code"] == "dropped"
        assert run.last.effect is Effect.FAILED
        assert stubs["convex"].faults.counts == {QUERY: 3}

    @pytest.mark.parametrize(
        ("status", "effect"),
        [(400, Effect.FAILED), (500, Effect.FAILED), (503, Effect.FAILED), (504, Effect.UNKNOWN)],
    )
    async def test_a_status_says_what_became_of_it(
        self, stubs: Stubs, status: int, effect: Effect
    ) -> None:
        """Refused is failed, a gateway that gave up is unknown; neither is sent again."""
        stubs["convex"].faults.add(Fault("answer", MUTATION, status=status, times=9))
        async with vendor_run(stubs) as run:
            await run.answer("convex.delete_document", USER)
        assert run.last.effect is effect
        assert stubs["convex"].faults.counts[MUTATION] == 1

    async def test_somebody_else_deletes_in_between(self, stubs: Stubs) -> None:
        """The document was there when looked at and is gone when changed: said so, nothing done."""
        there = {"status": "success", "value": [{"_id": "gone"}]}
        fault = Fault("answer", QUERY, status=200, body=orjson.dumps(there), times=2)
        stubs["convex"].faults.add(fault)
        given = {"table": "users", "document_id": "gone"}
        async with vendor_run(stubs) as run:
            first = await run.error("convex.update_document", {**given, "fields": {"name": "x"}})
            second = await run.error("convex.delete_document", given)
        assert [first["code"], second["code"]] == ["not_found", "not_found"]
        assert {one.effect for one in run.broker.calls} == {Effect.FAILED}
