"""What a run that only plans answers in place of vendors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from core.calls import Effect, EffectClass
from integrations.failure import CallFailed
from integrations.function import Function
from integrations.lint import lint
from integrations.local_call import LocalCall
from integrations.made_up import MARK, make_up
from integrations.mcp.server_call import ServerCall, call_tool
from integrations.planning import MAX_PLAN_BYTES, Candidate, Planner
from integrations.redaction import redact_whole
from ledger.recording import Recording
from sandbox.limits import Limits
from tests.shipped import CATALOG
from tests.shop_vendor import PACK

WRITES = [
    one
    for integration in CATALOG.integrations.values()
    for one in integration.functions
    if one.effect_class is EffectClass.WRITE
]


def candidate(function: Function, arguments: dict[str, Any]) -> Candidate:
    """Make a call of a function."""
    return Candidate(function, "default", LocalCall(function, arguments), arguments, "{}")


def planner() -> Planner:
    """Give one that has planned nothing."""
    return Planner(Recording(), Limits())


@pytest.mark.parametrize("function", WRITES, ids=lambda one: one.full_name)
def test_every_write_of_every_pack_has_an_answer(function: Function) -> None:
    """The answer has the shape of the example; nothing that a vendor chooses is taken from it."""
    assert function.spec is not None
    example = function.spec.example
    ending = planner().answer(candidate(function, example.arguments), 1)

    assert ending is not None
    assert (ending.effect, ending.ok) == (Effect.PLANNED, True)
    answer = orjson.loads(ending.body)
    assert type(answer) is type(example.reply)
    if isinstance(answer, dict):
        assert set(answer) >= set(example.reply)


def test_two_calls_of_one_function_get_different_ids() -> None:
    """It can be told which of two planned writes an id came from."""
    create = CATALOG.function("mux", "create_asset")
    assert create.spec is not None
    run, arguments = planner(), create.spec.example.arguments
    bodies = [run.answer(candidate(create, arguments), seq) for seq in (1, 2)]
    ids = {orjson.loads(one.body)["data"]["id"] for one in bodies if one is not None}

    assert len(ids) == 2
    assert all(MARK.fullmatch(one) for one in ids)


def test_an_address_keeps_its_origin_and_nothing_else() -> None:
    """A made-up address is one a script can read the host of; its signature is gone."""
    value, made = make_up(
        {"upload_url": "https://up.example/a?sig=1", "paid": "yes", "playback_ids": ["p-1"]},
        1, example={}, given={},
    )  # fmt: skip

    assert value["upload_url"].startswith("https://up.example/planned_")
    assert value["paid"] == "yes"
    assert made[value["playback_ids"][0]] == "/playback_ids/0"


def test_a_plan_has_a_bound() -> None:
    """A write that would make the plan too large for whoever has to read it is refused."""
    create = CATALOG.function("mux", "create_asset")
    run = planner()
    long = candidate(create, {"input": "x" * (MAX_PLAN_BYTES // 10)})
    for seq in range(1, 10):
        run.answer(long, seq)
    with pytest.raises(CallFailed) as refused:
        run.answer(long, 10)

    assert refused.value.code == "plan_too_large"
    assert len(run.writes) == 9


def tool(output: Any) -> Candidate:
    """Make a call of an MCP server's writing tool that declares this output."""
    function = CATALOG.function("mux", "create_asset")
    plain = Function(
        "mcp.files", "write", (), "Write", EffectClass.WRITE, "Write.", function.parameters,
        function.validator,
    )  # fmt: skip
    described = {} if output is None else {"outputSchema": output}
    trusted = SimpleNamespace(
        tools={"write": SimpleNamespace(described=described)},
        server=SimpleNamespace(secrets=list),
    )
    work = ServerCall(cast("Any", None), "", cast("Any", trusted), plain, {}, call_tool)
    return Candidate(plain, None, work, {}, "{}")


def test_a_tool_is_answered_by_the_output_it_declares() -> None:
    """Without a declared output, or one that nothing can be made of, a tool cannot be planned."""
    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    ending = planner().answer(tool(schema), 1)

    assert ending is not None
    assert MARK.fullmatch(orjson.loads(ending.body)["id"])
    for output in (None, {"$ref": "#/$defs/x"}, {"type": "object", "required": ["a"], "not": {}}):
        with pytest.raises(CallFailed, match="cannot be planned") as refused:
            planner().answer(tool(output), 1)
        assert refused.value.code == "no_example"


def test_the_linter_finds_a_write_whose_example_no_plan_can_answer_with(tmp_path: Path) -> None:
    """A pack's author hears that an example is no answer before a run does."""
    file = tmp_path / "shop.yaml"
    (tmp_path / "shop.md").write_text("# Shop\n\nThings.\n")
    file.write_text(PACK)
    assert lint(file)[1] == []
    file.write_text(
        PACK.replace(
            "      reply: {id: t-1, title: Another}",
            "      reply: {id: t-1, title: Another}\n    response: {content: text}",
        )
    )

    (found,) = lint(file)[1]
    assert found.message == "rename: its example's reply is no text; a plan answers with it"


@pytest.mark.parametrize(
    "text",
    [
        "x" * 400_000,
        "a://" * 100_000,
        "[" * 1_000 + "]" * 1_000,
        "{" + '"a":{' * 900 + "}" * 901,
        "planned_0123456789abcdef" * 20_000,
        '"\\' * 100_000,
    ],
    ids=["word", "addresses", "list", "table", "marks", "quotes"],
)
@pytest.mark.timeout(10)
def test_no_argument_of_a_script_costs_a_worker_its_time(text: str) -> None:
    """Whatever a planned write is given, it is shown, or not, in time linear in its length."""
    create = CATALOG.function("mux", "create_asset")
    run = planner()
    run.answer(candidate(create, {"input": "https://x.example/"}), 1)

    assert run.answer(candidate(create, {"input": text}), 2) is not None


def test_a_long_text_is_redacted_as_a_short_one_is() -> None:
    """Users and queries of addresses, credentials and secret names in JSON are not shown."""
    given = {
        "text": "see https://ann:pw@a.example/p?sig=1#x and ftp://b.example/ now",
        "json": '{"password": "x", "a": [1]}',
        "plain": "a?b",
        "said": "it is k-e-y-1",
    }
    shown, places = redact_whole(given, (), ["k-e-y-1"])

    assert shown == {
        "text": "see https://a.example/p?[redacted] and ftp://b.example/ now",
        "json": '{"password":"[redacted]","a":[1]}',
        "plain": "a?b",
        "said": "it is [redacted]",
    }
    assert places == ["/text", "/json", "/said"]
