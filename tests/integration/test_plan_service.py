"""Plan, approve and apply in a service: real processes, a real Redis, a vendor that counts."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from core import keys
from core.errors import Conflict, Invalid, NotFound
from core.plans import Mode, Plan
from ledger.leaves import commit
from runs.model import RunRecord, RunRequest
from runs.plans import ApplyRequest, Plans
from runs.store import RunStore
from sandbox.outcome import Reason
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet
from tests.command import MOONSAND, environment, moonsand
from tests.deadline import Deadline
from tests.integration.run_watching import LOST_S, TENANT, ended, submit, tape
from tests.shop_vendor import ShopVendor
from tests.worker_processes import running_worker

pytestmark = [pytest.mark.jail, pytest.mark.timeout(180)]

CHAIN = """
local shop = app.integrations.shop
local made = shop.create({ title = "Spring" })
local count = shop.stock({}).count
shop.rename({ id = made.data.id, title = "n" .. count })
shop.remove({ id = made.data.id })
return made.data.id
"""
KEY = "key_01m833sh6krv9agqgj6r7a4n84"


@dataclass(frozen=True, slots=True)
class Bench:
    """A Redis, the plans in it, and the vendor."""

    url: str
    store: RunStore
    plans: Plans
    redis: redis.Redis
    vendor: ShopVendor

    async def planned(self, script: str = CHAIN, **request: Any) -> tuple[str, Plan]:
        """Plan a script; give the run and its plan."""
        asked = RunRequest(script=script, mode=Mode.PLAN, **request)
        run_id = await submit(self.store, asked)
        record = await ended(self.store, run_id)
        assert (record.mode, record.reason, record.error) == (Mode.PLAN, Reason.OK, None)
        kept = await self.plans.get(TENANT, run_id)
        assert record.plan == kept.plan
        return run_id, kept.plan

    async def approve(self, run_id: str, plan: Plan) -> None:
        """Approve a plan."""
        await self.plans.approve(TENANT, run_id, digest=plan.digest, comment="yes", key_id=KEY)

    async def apply(self, run_id: str, **asked: Any) -> RunRecord:
        """Apply a plan."""
        return await self.plans.apply(TENANT, ApplyRequest(run_id, **asked), key_id=KEY)


@pytest.fixture
def bench(
    redis_url: str,
    store: RunStore,
    redis_sync: redis.Redis,
    redis_async: redis.asyncio.Redis,
    tmp_path: Path,
) -> Iterator[Bench]:
    """All of it, on this machine."""
    with ShopVendor(tmp_path / "shop", TENANT) as vendor:
        yield Bench(redis_url, store, Plans(redis_async, store), redis_sync, vendor)


async def test_a_plan_is_approved_once_and_applied_once(bench: Bench) -> None:
    """Approval and application are each possible once; the ledger has a leaf of the approval."""
    with running_worker(bench.url, slots=2, **bench.vendor.settings):
        run_id, plan = await bench.planned()
        assert bench.vendor.writes == 0
        with pytest.raises(Conflict, match="not approved"):
            await bench.apply(run_id)
        with pytest.raises(Conflict, match="another digest"):
            await bench.plans.approve(TENANT, run_id, digest="0" * 64, comment=None, key_id=KEY)
        await bench.approve(run_id, plan)
        with pytest.raises(Conflict, match="approved already"):
            await bench.approve(run_id, plan)
        first = await bench.apply(run_id, key="one")
        assert (await bench.apply(run_id, key="one")).id == first.id
        for key in ("", "two"):
            with pytest.raises(Conflict, match=f"applied already, by {first.id}"):
                await bench.apply(run_id, key=key)
        record = await ended(bench.store, first.id)
        kept = await bench.plans.get(TENANT, run_id)

    assert (record.reason, record.mode, record.applied) == (Reason.OK, Mode.APPLY, 3)
    assert bench.vendor.did == {"stock": 2, "create": 1, "rename": 1, "remove": 1}
    assert (kept.state, kept.applied_by) == ("applied", first.id)
    assert kept.approval is not None
    assert (kept.approval.by, kept.approval.comment) == (KEY, "yes")
    leaf = _leaf(bench.redis, "plan.approved")
    assert (leaf["id"], leaf["by"], leaf["writes"]) == (run_id, KEY, 3)
    approval = json.loads(bench.redis.hget(keys.run(run_id), "plan_approved") or b"")
    assert leaf["plan"] == commit(approval["salt"], "plan", plan.digest)
    assert "yes" not in json.dumps(leaf)


def _leaf(client: redis.Redis, kind: str) -> dict[str, Any]:
    rows: Any = client.xrange(keys.LEDGER_INBOX)
    leaves = [json.loads(fields[b"leaf"]) for _, fields in rows if b"leaf" in fields]
    return next(one for one in leaves if one["kind"] == kind)


async def test_many_who_apply_at_once_get_one_run(bench: Bench) -> None:
    """However many ask at the same time, a plan becomes one run."""
    with running_worker(bench.url, slots=2, **bench.vendor.settings):
        run_id, plan = await bench.planned()
        await bench.approve(run_id, plan)
        same = await asyncio.gather(*(bench.apply(run_id, key="k") for _ in range(5)))
        others = await asyncio.gather(
            *(bench.apply(run_id) for _ in range(5)), return_exceptions=True
        )
        await ended(bench.store, same[0].id)

    assert len({one.id for one in same}) == 1
    assert all(isinstance(one, Conflict) for one in others)
    assert bench.vendor.did["create"] == 1


async def test_what_was_tampered_with_is_not_applied(bench: Bench) -> None:
    """A plan that is not its digest's, other script or input, a plan of another tenant: refused."""
    with running_worker(bench.url, slots=2, **bench.vendor.settings):
        run_id, plan = await bench.planned(input={"a": 1})
        with pytest.raises(NotFound):
            await bench.plans.get("other", run_id)
        with pytest.raises(NotFound):
            await bench.plans.apply("other", ApplyRequest(run_id), key_id=KEY)
        with pytest.raises(Invalid):
            await bench.plans.approve(
                TENANT, run_id, digest=plan.digest, comment="x" * 1001, key_id=KEY
            )
        await bench.approve(run_id, plan)
        for asked in ({"script": b"return 1"}, {"input": b"2"}, {"digest": "0" * 64}):
            with pytest.raises(Conflict):
                await bench.apply(run_id, **asked)
        whole = json.loads(plan.text())
        whole["writes"][0]["arguments"]["title"] = "Winter"
        bench.redis.hset(keys.run(run_id), "plan", json.dumps(whole))
        with pytest.raises(Conflict, match="not what its digest says"):
            await bench.apply(run_id)

    assert bench.vendor.writes == 0


async def test_a_plan_that_failed_cannot_be_approved(bench: Bench) -> None:
    """What a run planned before it failed is shown, and is no plan to approve."""
    with running_worker(bench.url, slots=2, **bench.vendor.settings):
        script = 'app.integrations.shop.create({ title = "Spring" }) error("no")'
        asked = RunRequest(script=script, mode=Mode.PLAN)
        record = await ended(bench.store, await submit(bench.store, asked))
        plain = await ended(bench.store, await submit(bench.store))

    assert record.reason is Reason.SCRIPT_ERROR
    assert record.plan is not None
    assert len(record.plan.writes) == 1
    with pytest.raises(Conflict, match="is not whole"):
        await bench.approve(record.id, record.plan)
    with pytest.raises(Conflict, match="was not to plan"):
        await bench.plans.get(TENANT, plain.id)


async def test_grants_that_shrank_since_are_gone_at_apply(
    bench: Bench, redis_async: redis.asyncio.Redis
) -> None:
    """An approval is no grant: what the tenant may no longer call is denied."""
    with running_worker(bench.url, slots=2, **bench.vendor.settings):
        run_id, plan = await bench.planned(grants=["shop"])
        await bench.approve(run_id, plan)
        await GrantStore(redis_async).set(TENANT, None, GrantSet.parse(["shop:read"]), by="cli")
        record = await ended(bench.store, (await bench.apply(run_id)).id)

    assert (record.reason, record.applied) == (Reason.SCRIPT_ERROR, 0)
    assert record.grants == ["shop"]
    assert bench.vendor.writes == 0


async def test_an_apply_whose_worker_was_killed_goes_on_where_it_was(bench: Bench) -> None:
    """The tape knows which write of the plan each call is: none is made twice, none is skipped."""
    with running_worker(bench.url, slots=2, **bench.vendor.settings) as doomed:
        run_id, plan = await bench.planned()
        await bench.approve(run_id, plan)
        bench.vendor.held.set()
        applied = (await bench.apply(run_id)).id
        await Deadline().reached(_struck(bench.vendor), "the held call")
        doomed.kill()
    bench.vendor.held.clear()
    bench.vendor.released.set()
    with running_worker(bench.url, slots=2, **bench.vendor.settings):
        record = await ended(bench.store, applied, seconds=LOST_S)

    assert (record.reason, record.attempt, record.applied) == (Reason.OK, 2, 3)
    assert {name: bench.vendor.did[name] for name in ("create", "rename", "remove")} == {
        "create": 1, "rename": 1, "remove": 1,
    }  # fmt: skip
    assert tape(bench.redis, applied)[-1] == "finished"


async def test_a_plan_whose_worker_was_killed_is_the_same_plan(bench: Bench) -> None:
    """What was planned before the worker died stands in the plan once."""
    with running_worker(bench.url, slots=2, **bench.vendor.settings) as doomed:
        _, plan = await bench.planned(seed=5)
        bench.vendor.held.set()
        asked = RunRequest(script=CHAIN, mode=Mode.PLAN, seed=5)
        run_id = await submit(bench.store, asked)
        await Deadline().reached(_struck(bench.vendor), "the held call")
        doomed.kill()
    bench.vendor.held.clear()
    bench.vendor.released.set()
    with running_worker(bench.url, slots=2, **bench.vendor.settings):
        record = await ended(bench.store, run_id, seconds=LOST_S)

    assert (record.reason, record.attempt, bench.vendor.writes) == (Reason.OK, 2, 0)
    assert record.plan == plan


def _struck(vendor: ShopVendor) -> Any:
    async def look() -> bool | None:
        return vendor.struck.is_set() or None

    return look


def test_plan_approve_apply_from_the_command_line(tmp_path: Path) -> None:
    """A user plans, shows, approves and applies; a write off plan is refused and not sent."""
    script = tmp_path / "s.lua"
    script.write_text(
        "local shop = app.integrations.shop\n"
        'local made = shop.create({ title = "n" .. shop.stock({}).count })\n'
        'shop.rename({ id = made.data.id, title = "Summer" })\n'
    )
    with ShopVendor(tmp_path / "shop", "development") as shop:
        settings = {f"MOONSAND_{name.upper()}": str(one) for name, one in shop.settings.items()}
        env = environment(tmp_path / "state", **settings)
        process = subprocess.Popen(
            [*MOONSAND, "serve", "--port", "0", "--slots", "2"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env,
            start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            list(iter(process.stdout.readline, "\n"))
            _use(env, script, shop)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=40)


def _use(env: dict[str, str], script: Path, shop: ShopVendor) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return moonsand(*words, env=env)

    made = run("keys", "create", "--scope", "runs:approve", "--scope", "runs:read")
    approver = made.stdout.split()[0]
    first = _planned(run("submit", str(script), "--plan", "--wait"))
    assert shop.writes == 0
    assert run("plan", "show", first).stdout.endswith("not approved\n")
    assert "runs:approve" in run("plan", "approve", first).stderr
    assert run("apply", first).stderr.startswith("moonsand: the plan is not approved\n")
    approved = run("plan", "approve", first, "--key", approver, "--comment", "fine")
    assert approved.stdout.endswith(": fine\nnot applied\n")
    applied = run("apply", first, "--wait")
    assert (applied.returncode, applied.stderr) == (0, "plan: 2 of 2 applied\n")
    assert (shop.did["create"], shop.did["rename"]) == (1, 1)
    again = run("apply", first)
    assert (again.returncode, "applied already, by run_" in again.stderr) == (2, True)

    second = _planned(run("submit", str(script), "--plan", "--wait"))
    assert run("plan", "approve", second, "--key", approver).returncode == 0
    shop.stock = 9
    refused = run("apply", second, "--wait")
    assert refused.returncode == 1
    assert "off plan: call 2 is shop.create as write 1 of 2 of the plan" in refused.stderr
    assert '/title is "n9"; the plan has "n3"; no external call was made' in refused.stderr
    assert refused.stderr.endswith("plan: 0 of 2 applied\n")
    assert shop.writes == 2
    for run_id in (
        first,
        second,
        json.loads(run("plan", "show", first, "--json").stdout)["applied_by"],
    ):
        bundle = run("runs", "export", run_id)
        replayed = moonsand("replay", "-", env=env, stdin=bundle.stdout)
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr


def _planned(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr.split("plan of ")[1].split(":")[0]
