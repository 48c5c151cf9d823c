"""Plan and apply on this machine: the real jail, the broker, and a vendor that counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.calls import Effect
from core.clock import now_ms
from core.errors import Conflict
from core.plans import Mode, Plan
from integrations.accounts import AccountsFile
from integrations.catalog import Catalog
from ledger.recording import Recording
from ledger.tape import Kind, MemoryTape
from runs.model import RunRequest, RunResult
from sandbox.outcome import Reason
from sandbox.supervisor import Sandbox
from tenancy.grants import Grants, GrantSet, Whose
from tests.shop_vendor import ShopVendor
from worker.local import run_local

pytestmark = pytest.mark.jail

CHAIN = """
local shop = app.integrations.shop
local count = shop.stock({}).count
local made = shop.create({ title = "Spring", password = "hunter2-hunter2" })
shop.rename({ id = made.data.id, title = "see " .. made.data.id .. " at " .. made.upload_url })
shop.remove({ id = made.data.id })
return { count = count, id = made.data.id, title = made.data.title }
"""
OTHER_THAN_PLANNED = """
local shop = app.integrations.shop
local title = shop.stock({}).count == 3 and "Spring" or "Autumn"
local ok, err = pcall(shop.create, { title = title })
if not ok then print(err) end
local ok, err = pcall(shop.create, { title = "Spring" })
return ok
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[ShopVendor]:
    """The vendor."""
    with ShopVendor(tmp_path / "shop", "acme") as vendor:
        yield vendor


def execute(
    shop: ShopVendor,
    script: str,
    *,
    plan: Plan | None = None,
    mode: Mode = Mode.RUN,
    grants: Grants | None = None,
    tape: MemoryTape | None = None,
    **request: Any,
) -> RunResult:
    """Run a script here; with a `plan`, held to it."""

    async def go() -> RunResult:
        catalog = Catalog.load(operator=shop.packs)
        async with Sandbox(1) as sandbox:
            return await run_local(
                RunRequest(script=script, mode=mode, **({"seed": 7} | request)),
                sandbox=sandbox,
                catalog=catalog,
                accounts=AccountsFile.load(shop.accounts, catalog).for_tenant(None),
                grants=grants or Grants.everything(),
                tape=tape,
                plan=plan,
            )

    return asyncio.run(go())


def of_tenant(*rules: str) -> Grants:
    """Give grants as a tenant's own rules."""
    return Grants(((Whose.TENANT, GrantSet.parse(rules)),))


def planned(shop: ShopVendor, script: str, **how: Any) -> Plan:
    """Plan a script, which has to succeed; give its plan."""
    result = execute(shop, script, mode=Mode.PLAN, **how)
    assert (result.reason, result.error) == (Reason.OK, None)
    assert result.plan is not None
    return Plan.read(result.plan.text())


def test_a_plan_reads_and_writes_nothing(shop: ShopVendor) -> None:
    """Reads of a plan are real; its writes are listed in order and none of them is sent."""
    result = execute(shop, CHAIN, mode=Mode.PLAN)

    assert (result.mode, result.reason, result.error) == (Mode.PLAN, Reason.OK, None)
    assert shop.did == {"stock": 1}
    assert [call.effect for call in result.calls] == [Effect.SUCCEEDED, *[Effect.PLANNED] * 3]
    assert result.plan is not None
    names = [(one.n, one.name, one.account) for one in result.plan.writes]
    assert names == [
        (1, "shop.create", "default"),
        (2, "shop.rename", "default"),
        (3, "shop.remove", "default"),
    ]
    assert result.result["count"] == 3
    assert result.result["title"] == "Spring"


def test_a_plan_says_where_made_up_values_come_from_and_shows_no_secret(shop: ShopVendor) -> None:
    """Made-up values of a later write are marked with where they are from; secrets are hidden."""
    plan = planned(shop, CHAIN)

    create, rename, remove = plan.writes
    assert create.arguments == {"title": "Spring", "password": "[redacted]"}
    assert create.redacted == ["/password"]
    assert "hunter2" not in plan.text().decode()
    made_up = remove.arguments["id"]
    assert {origin.path for origin in rename.references.values()} == {"/data/id", "/upload_url"}
    assert remove.references[made_up].model_dump() == {"from": 1, "path": "/data/id"}
    assert rename.arguments["title"].startswith(
        f"see {made_up} at https://up.shop.example/planned_"
    )


def test_the_same_script_gets_the_same_plan(shop: ShopVendor) -> None:
    """A plan depends on script, input, seed, limits, grants and replies alone."""
    assert planned(shop, CHAIN).digest == planned(shop, CHAIN).digest
    assert planned(shop, CHAIN).digest != planned(shop, CHAIN, seed=8).digest


def test_apply_makes_each_write_once_with_the_real_ids(shop: ShopVendor) -> None:
    """What a vendor really answered stands where the plan had made something up."""
    plan = planned(shop, CHAIN)

    result = execute(shop, CHAIN, plan=plan)

    assert (result.reason, result.error, result.mode) == (Reason.OK, None, Mode.APPLY)
    assert shop.did == {"stock": 2, "create": 1, "rename": 1, "remove": 1}
    assert result.applied == 3


def test_a_write_off_plan_is_refused_and_nothing_is_sent(shop: ShopVendor) -> None:
    """The error says what came and what was next; the plan's next write may still be made."""
    plan = planned(shop, OTHER_THAN_PLANNED)
    shop.stock = 4

    result = execute(shop, OTHER_THAN_PLANNED, plan=plan)

    assert result.output == (
        "denied: off plan: call 2 is shop.create as write 1 of 2 of the plan, with other"
        ' arguments: /title is "Autumn"; the plan has "Spring"; no external call was made\n'
    )
    assert [call.effect for call in result.calls[1:]] == [Effect.DENIED, Effect.SUCCEEDED]
    assert (result.result, result.applied, shop.writes) == (True, 1, 1)


def test_an_uncaught_write_off_plan_ends_the_run_as_denied(shop: ShopVendor) -> None:
    """A run that leaves its plan has the reason `denied`; no call is said to have been made."""
    script = """
    local shop = app.integrations.shop
    if shop.stock({}).count == 3 then return shop.create({ title = "Spring" }) end
    return shop.remove({ id = "t-7" })
    """
    plan = planned(shop, script)
    shop.stock = 4

    result = execute(shop, script, plan=plan)

    assert result.reason is Reason.DENIED
    assert result.error is not None
    assert "the plan has write 1 of 1 next: shop.create" in result.error.message
    said = "The script had made 2 calls; `calls` says what became of each."
    assert (result.error.hint or "").endswith(said)
    assert (result.applied, shop.writes) == (0, 0)


def test_a_write_beyond_the_plan_is_refused(shop: ShopVendor) -> None:
    """A plan that is used up allows nothing more."""
    script = """
    local shop = app.integrations.shop
    for i = 1, shop.stock({}).count do shop.create({ title = "n" .. i }) end
    """
    plan = planned(shop, script)
    shop.stock = 5

    result = execute(shop, script, plan=plan)

    assert result.reason is Reason.DENIED
    assert result.error is not None
    assert "the plan has no more writes, all 3 were begun" in result.error.message
    assert (result.applied, shop.writes) == (3, 3)


def test_writes_may_be_left_out_at_the_end(shop: ShopVendor) -> None:
    """A run may do less than planned; its result tells how much it did."""
    script = """
    local shop = app.integrations.shop
    for i = 1, shop.stock({}).count do shop.create({ title = "n" .. i }) end
    """
    plan = planned(shop, script)
    shop.stock = 2

    result = execute(shop, script, plan=plan)

    assert (result.reason, result.applied, shop.writes) == (Reason.OK, 2, 2)


def test_a_secret_that_differs_is_off_plan_and_not_told(shop: ShopVendor) -> None:
    """Arguments that the plan does not show are held to it by their digest."""
    script = """
    local shop = app.integrations.shop
    return shop.create({ title = "Spring", password = "secret-number-" .. shop.stock({}).count })
    """
    plan = planned(shop, script)
    assert execute(shop, script, plan=plan).applied == 1
    shop.stock = 4

    result = execute(shop, script, plan=plan)

    assert result.reason is Reason.DENIED
    assert result.error is not None
    assert (
        "a value that the plan does not show is another one (at /password)" in result.error.message
    )
    assert "secret-number" not in result.error.message
    assert shop.writes == 1


def test_a_failed_write_has_had_its_turn(shop: ShopVendor) -> None:
    """A write takes its place when it is begun; to make it a second time is off plan."""
    script = """
    local shop = app.integrations.shop
    local ok = pcall(shop.create, { title = "Spring" })
    if not ok then shop.create({ title = "Spring" }) end
    """
    plan = planned(shop, script)
    shop.refuse = True

    result = execute(shop, script, plan=plan)

    assert result.reason is Reason.DENIED
    assert (result.applied, shop.did["create"]) == (0, 1)


def test_a_write_whose_real_answer_is_missing_cannot_be_used_later(shop: ShopVendor) -> None:
    """Where the write that a value comes from has failed, nothing can stand in its place."""
    script = """
    local shop = app.integrations.shop
    local ok, made = pcall(shop.create, { title = "Spring" })
    shop.rename({ id = ok and made.data.id or "t-1", title = "Summer" })
    """
    plan = planned(shop, script)
    shop.refuse = True

    result = execute(shop, script, plan=plan)

    assert result.reason is Reason.DENIED
    assert result.error is not None
    assert "it uses what write 1 answers at /data/id" in result.error.message
    assert shop.did["rename"] == 0


def test_grants_hold_in_a_plan_and_when_it_is_applied(shop: ShopVendor) -> None:
    """What is not granted is not planned; what was taken away since is not applied."""
    script = 'return app.integrations.shop.create({ title = "Spring" })'
    refused = execute(shop, script, mode=Mode.PLAN, grants=Grants.parse(["shop:read"]))
    assert refused.reason is not Reason.OK
    assert refused.plan is not None
    assert refused.plan.writes == []

    plan = planned(shop, script)
    held = execute(shop, script, plan=plan, grants=of_tenant("shop:read"))

    assert held.reason is not Reason.OK
    assert (held.applied, shop.writes) == (0, 0)


def test_the_approval_of_a_plan_answers_grants_that_ask(shop: ShopVendor) -> None:
    """A planned write is not asked about: the plan marks it, and its approval is the answer."""
    script = 'return app.integrations.shop.create({ title = "Spring" }).data.status'
    asking = of_tenant("shop:read", "ask:shop.create")

    plan = planned(shop, script, grants=asking)
    assert [one.asks for one in plan.writes] == [True]
    result = execute(shop, script, plan=plan, grants=asking)

    assert (result.result, result.applied) == ("ready", 1)
    unplanned = execute(shop, script, grants=asking)
    assert unplanned.reason is not Reason.OK
    assert shop.writes == 1


def test_another_script_input_or_seed_is_refused(shop: ShopVendor) -> None:
    """A plan binds what it was made of."""
    script = "return app.integrations.shop.create({ title = input })"
    plan = planned(shop, script, input="a")

    with pytest.raises(Conflict, match="another script"):
        execute(shop, "return 1", plan=plan, input="a")
    with pytest.raises(Conflict, match="another input"):
        execute(shop, script, plan=plan, input="b")
    with pytest.raises(Conflict, match="another seed"):
        execute(shop, script, plan=plan, input="a", seed=9)
    assert shop.writes == 0


def test_a_changed_plan_is_none(shop: ShopVendor) -> None:
    """Whatever is changed in a plan, its digest tells."""
    plan = planned(shop, CHAIN)
    whole = orjson.loads(plan.text())
    whole["writes"][0]["arguments"]["title"] = "Winter"

    with pytest.raises(Conflict, match="not what its digest says"):
        Plan.read(orjson.dumps(whole))


def test_a_read_of_what_is_only_planned_asks_nobody(shop: ShopVendor) -> None:
    """What does not exist cannot be asked for: the answer is made up, and says the id given."""
    result = execute(
        shop,
        """
        local shop = app.integrations.shop
        local made = shop.create({ title = "Spring" })
        local got = shop.get({ id = made.data.id })
        return { same = got.id == made.data.id, title = got.title }
        """,
        mode=Mode.PLAN,
    )

    assert result.result == {"same": True, "title": "A thing"}
    assert [(one.effect_class, one.effect) for one in result.calls] == [
        ("write", "planned"),
        ("read", "planned"),
    ]
    assert shop.did == {}
    assert result.plan is not None
    assert len(result.plan.writes) == 1


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("shop.get({ id = made.data.id }).owner_id", "as the answer to a read"),
        ("made.upload_url:sub(-24)", "only a part of it"),
        ("'https://x.example/?' .. made.data.id", "inside a secret value"),
    ],
)
def test_what_could_not_be_filled_in_later_is_not_planned(
    shop: ShopVendor, argument: str, why: str
) -> None:
    """A made-up value that nobody could replace at apply is refused in the plan already."""
    script = f"""
    local shop = app.integrations.shop
    local made = shop.create({{ title = "Spring" }})
    return shop.rename({{ id = "t-1", title = {argument} }})
    """

    result = execute(shop, script, mode=Mode.PLAN)

    assert result.error is not None
    assert "shop.rename cannot be planned" in result.error.message
    assert why in result.error.message


def test_parallel_writes_are_held_to_the_order_of_the_tape(shop: ShopVendor) -> None:
    """Calls in flight together are planned and applied in the order of the script."""
    script = """
    return parallel.map({ 1, 2, 3, 4, 5, 6 }, function(i)
      return app.integrations.shop.create({ title = "n" .. i }).data.title
    end, { concurrency = 4 })
    """
    plan = planned(shop, script)
    assert [one.arguments["title"] for one in plan.writes] == [f"n{i}" for i in range(1, 7)]

    result = execute(shop, script, plan=plan)

    assert (result.reason, result.applied, shop.writes) == (Reason.OK, 6, 6)


def test_a_plan_has_no_intents_and_its_tape_has_all_of_it(shop: ShopVendor) -> None:
    """Nothing is to be sent, so nothing is in doubt: the plan can be made of the tape alone."""
    tape = MemoryTape(now_ms)
    result = execute(shop, CHAIN, mode=Mode.PLAN, tape=tape)

    intents = [one.body["name"] for one in tape.entries if one.kind is Kind.INTENT]
    assert intents == ["shop.stock"]
    assert tape.entries[0].body["mode"] == "plan"
    recorded = Recording.of(tape.entries).calls.values()
    writes = [one.planned["write"] for one in recorded if one.planned is not None]
    assert result.plan is not None
    assert writes == [one.model_dump(mode="json") for one in result.plan.writes]
