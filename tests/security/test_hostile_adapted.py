"""Vendors whose replies an adapter takes apart may answer anything: the call ends, and in words."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.calls import Effect
from integrations.accounts import Accounts, AccountsFile
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault, FaultKind
from sandbox.calls import EndRun, Reply
from sandbox.limits import Limits
from tests.mux_runs import MuxRun, whole_catalog
from tests.mux_runs import mux_run as vendor_run

pytestmark = pytest.mark.anyio
SCENE = {"character": {"avatar_id": "avatar-abc123"}, "script": "Hello"}
USER = {"table": "users", "document_id": "doc_abc123"}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("heygen.list_videos", {"limit": 100, "offset": 900}),
    ("heygen.get_video", {"video_id": "abc123"}),
    ("heygen.create_video", {"video_inputs": [SCENE]}),
    ("heygen.list_avatars", {}),
    ("heygen.list_voices", {}),
    ("heygen.get_current_user", {}),
    ("heygen.list_templates", {}),
    ("convex.list_tables", {}),
    ("convex.get_table", {"table": "users"}),
    ("convex.get_table", {"table": "10001"}),
    ("convex.query_documents", {"table": "users", "order": "createdAt"}),
    ("convex.create_document", {"table": "users", "fields": {"name": "x"}}),
    ("convex.update_document", {**USER, "fields": {"name": "x"}}),
    ("convex.delete_document", USER),
    ("convex.get_current_user", {}),
]
NESTED = '{"tables":[{"tableName":"users","indexes":' + "[" * 100 + "]" * 100 + "}]}"


#: Values no function of Convex gives.
ODD_VALUES: tuple[Any, ...] = (
    *(None, 5, [], {}, [None], [[]], [5], ["x"]),
    {"success": "yes"},
)


def _success(value: Any) -> Any:
    return {"status": "success", "value": value}


BODIES: list[Any] = [
    *(None, 5, "x", [], {}, [[]], {"data": None}, {"data": 5}, {"data": []}, {"data": {}}),
    {"data": [None, 5, "x", [], {}, {"id": {}}, {"id": 5, "name": [], "voice_id": None}]},
    {"data": [], "next_token": "again", "has_more": True},
    {"data": [{"id": "x"}] * 1000, "next_token": "again"},
    {"data": [], "next_token": {"a": 1}},
    {"data": {"video_id": 5, "subscription": [], "wallet": {"remaining_balance": "many"}}},
    {"data": {"subscription": {"plan": {}, "credits": {"premium_credits": {"remaining": True}}}}},
    {"status": "success"},
    {"status": "error"},
    {"status": "error", "errorMessage": {}, "errorData": {"a": [1]}},
    {"status": {"success": True}, "value": {"success": True}},
    *(_success(one) for one in ODD_VALUES),
    _success({"page": None}),
    _success({"page": [None, 5, {"error": 5, "filter": []}], "isDone": True}),
    _success({"page": [], "isDone": False, "continueCursor": "again"}),
    _success({"page": [], "isDone": False}),
    _success({"active": 5}),
    _success({"active": "{"}),
    _success({"active": NESTED}),
    _success({"active": '{"tables":[5,{"tableName":"users","indexes":{"a":1}}]}'}),
    _success({"active": '{"tables":[{"tableName":"users","indexes":[5,{"fields":[{}]}]}]}'}),
    _success([{"_id": "another"}]),
    _success([{"_id": "doc_abc123"}, {"_id": "doc_abc123"}]),
    _success({"success": False, "error": {"a": 1}}),
]


async def check(stubs: Stubs, name: str, arguments: dict[str, Any], body: Any) -> None:
    """Make a call whose every reply is this body; hold its end to what every call owes."""
    integration = name.partition(".")[0]
    stubs.reset()
    fault = Fault("answer", status=200, body=orjson.dumps(body), times=999)
    stubs[integration].faults.add(fault)
    async with vendor_run(stubs) as run:
        answer = await run.answer(name, arguments)
    if isinstance(answer, EndRun):
        assert run.last.effect is Effect.UNKNOWN
        assert name.rpartition(".")[2].split("_")[0] in {"create", "update", "delete"}
    else:
        assert isinstance(answer, Reply)
        told = orjson.loads(answer.body)
        assert answer.ok or (told["message"].isprintable() and len(told["message"]) < 1200)
    assert run.kinds == ["intent", "effect"]
    assert len(stubs[integration].faults.seen) <= 20


@pytest.mark.parametrize("body", BODIES, ids=lambda body: orjson.dumps(body).decode()[:40])
async def test_any_body_ends_every_call_in_order(stubs: Stubs, body: Any) -> None:
    """A value or an error in words, intent and effect on the tape, and never endless requests."""
    for name, arguments in CALLS:
        await check(stubs, name, arguments, body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "success", "users", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["status", "value", "page", "isDone", "continueCursor", "data", "next_token", "_id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=_JSON, which=st.integers(0, len(CALLS) - 1))
def test_bodies_nobody_thought_of(stubs: Stubs, body: Any, which: int) -> None:
    """The same for bodies made of the keys that adapters look for."""
    asyncio.run(check(stubs, *CALLS[which], body))


async def test_a_schema_in_a_text_has_the_same_depth(stubs: Stubs) -> None:
    """JSON that Convex hides in a text counts like any other."""
    fault = Fault("answer", "POST /api/query", status=200,
                  body=orjson.dumps(_success({"active": NESTED})))  # fmt: skip
    stubs["convex"].faults.add(fault)
    async with vendor_run(stubs) as run:
        error = await run.error("convex.get_table", {"table": "users"})
    assert error["code"] == "reply_too_deep"


async def test_many_pages_are_one_reply(stubs: Stubs) -> None:
    """The limit of a reply holds for all pages together."""
    page = {"data": [{"id": "x", "name": "y" * 90_000}], "next_token": "again"}
    fault = Fault("answer", status=200, body=orjson.dumps(page), times=99)
    stubs["heygen"].faults.add(fault)
    async with vendor_run(stubs, limits=Limits(reply_bytes=256 << 10)) as run:
        error = await run.error("heygen.list_avatars", {})
    assert error["code"] == "reply_too_large"
    assert len(stubs["heygen"].faults.seen) == 10


async def test_a_change_whose_answer_says_nothing_is_unknown(stubs: Stubs) -> None:
    """An answer that is none of Convex's does not count as done, nor as refused."""
    fault = Fault("answer", "POST /api/mutation", status=200, body=b'{"hello":1}')
    stubs["convex"].faults.add(fault)
    async with vendor_run(stubs) as run:
        end = await run.answer("convex.delete_document", USER)
    assert isinstance(end, EndRun)
    assert run.last.effect is Effect.UNKNOWN


async def test_words_of_a_function_are_tamed(stubs: Stubs) -> None:
    """An error message of any length and content becomes one printable line."""
    words = "\u202eevil\r\n\x1b[31m" * 5000
    body = {"status": "error", "errorMessage": words}
    fault = Fault("answer", status=200, body=orjson.dumps(body))
    stubs["convex"].faults.add(fault)
    async with vendor_run(stubs) as run:
        error = await run.error("convex.list_tables", {})
    assert error["message"].isprintable()
    assert len(error["message"]) < 1200


CANARY = "canary/+secret\"'-7f3a"


def planted(stubs: Stubs) -> Accounts:
    """Give the accounts of the stubs with the canary as key of HeyGen and of Convex."""
    toml = stubs.accounts_toml
    for key in ("stub-heygen-default-key", "dev:stub-default-123|stub-convex-default-key"):
        toml = toml.replace(f'"{key}"', '{ env = "CANARY" }')
    return AccountsFile.parse(toml, whole_catalog(), {"CANARY": CANARY}).for_tenant(None)


def assert_clean(run: MuxRun, *more: Any) -> None:
    """Fail if any form of the canary is kept or shown."""
    broker = run.broker
    kept = repr([run.tape.entries, broker.calls, broker.accounts, broker.surface(), more])
    # Its beginning is the same in every form, however often it was escaped.
    assert "canary" not in kept


ECHOES: list[Any] = [
    {"data": [{"id": CANARY, CANARY: f"Convex {CANARY}"}], "next_token": CANARY},
    {"data": {"video_id": CANARY, "plan": CANARY, "billing_type": CANARY}},
    {"status": "error", "errorMessage": f"x {CANARY}", "errorData": CANARY},
    _success({"page": [{"_id": CANARY, "name": f"Convex {CANARY}"}], "continueCursor": CANARY}),
    _success({"page": [{"error": CANARY, "filter": 0}], "isDone": True}),
    _success({"success": False, "error": CANARY}),
    {"projectName": CANARY},
]


@pytest.mark.parametrize("number", range(len(ECHOES)))
async def test_a_vendor_that_echoes_a_key_is_not_heard(stubs: Stubs, number: int) -> None:
    """Neither in values that adapters made nor in errors they raised."""
    body = orjson.dumps(ECHOES[number])
    for name, arguments in CALLS:
        stubs.reset()
        integration = name.partition(".")[0]
        stubs[integration].faults.add(Fault("answer", status=200, body=body, times=999))
        async with vendor_run(stubs, accounts=planted(stubs)) as run:
            reply = await run.answer(name, arguments)
            assert_clean(run, reply)


@pytest.mark.parametrize("kind", ["drop", "refuse", "drop_body", "answer"])
async def test_no_failure_shows_a_key(
    stubs: Stubs, kind: FaultKind, caplog: pytest.LogCaptureFixture
) -> None:
    """Every way a call can break: clean errors, tape and logs."""
    caplog.set_level("DEBUG")
    for name, arguments in CALLS:
        stubs.reset()
        integration = name.partition(".")[0]
        stubs[integration].faults.add(Fault(kind, times=99, status=500, body=CANARY.encode()))
        limits = Limits(wall_ms=1_000)
        async with vendor_run(stubs, accounts=planted(stubs), limits=limits) as run:
            reply = await run.answer(name, arguments)
            assert_clean(run, reply, caplog.text)


async def test_a_key_in_arguments_is_not_on_the_tape(stubs: Stubs) -> None:
    """Previews are searched for it, in JSON text too."""
    fields = orjson.dumps({"name": CANARY}).decode()
    async with vendor_run(stubs, accounts=planted(stubs)) as run:
        await run.answer("convex.create_document", {"table": "users", "fields": fields})
        await run.answer("convex.create_document", {"table": "users", "fields": {"name": CANARY}})
        assert_clean(run)
