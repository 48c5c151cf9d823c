"""A fire starts what its key and its saved script allow at that moment, and never more."""

from __future__ import annotations

import orjson
import pytest
from redis.asyncio import Redis

from core import keys
from tenancy.grant_store import GrantStore
from tenancy.grants import Grants, GrantSet
from tenancy.keys import KeyStore
from tests.firing_bench import Bench
from triggers.schedules import ScheduleChange, ScheduleState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(redis_async: Redis) -> Bench:
    """All that, over an empty Redis."""
    return await Bench.open(redis_async)


async def test_a_key_that_is_gone_suspends_its_schedules(bench: Bench) -> None:
    """Nothing is started; the schedule says why, and goes on as another key's."""
    one = await bench.make()
    await KeyStore(bench.redis).revoke("acme", bench.key.id)
    await bench.pass_s(1)
    shown = await bench.now(one)
    assert (shown.state, shown.next_fire_ms) == (ScheduleState.SUSPENDED, None)
    assert shown.reason == f"the key {bench.key.id} was revoked"
    assert await bench.history(one) == [("failed", 0)]
    await bench.pass_s(60)
    assert await bench.started() == []

    _, other = await KeyStore(bench.redis).create("acme", "other")
    resumed = await bench.schedules.change(other, one.id, ScheduleChange(state="active"))
    assert (resumed.key_id, resumed.reason) == (other.id, None)
    bench.at_ms = resumed.next_fire_ms or 0
    await bench.pass_s(0)
    assert len(await bench.started()) == 1


async def test_a_run_has_what_its_maker_had_and_may_today(bench: Bench) -> None:
    """Grants that the key lost since are lost, and those it was given since are not given."""
    grants = GrantStore(bench.redis)
    await grants.set("acme", bench.key.id, GrantSet.parse(["mux:read", "heygen"]), by="t")
    one = await bench.make()
    await grants.set("acme", bench.key.id, GrantSet.parse(["mux", "convex"]), by="t")
    await bench.pass_s(1)
    (run,) = await bench.started()
    assert run.ceiling == {"key": ["mux", "convex"], "maker": ["mux:read", "heygen"]}
    kept = await bench.redis.hget(keys.run(run.id), "grants")
    whole = Grants.of_json(orjson.loads(kept or b"null"))
    assert whole.allows("mux", "list_assets", "read")
    assert not whole.allows("mux", "create_asset", "write")
    assert not whole.allows("heygen", "list_avatars", "read")
    assert not whole.allows("convex", "query", "read")

    await bench.end_all()
    await bench.schedules.change(bench.key, one.id, ScheduleChange(name="mine"))
    await bench.pass_s(1)
    (*_, last) = await bench.started()
    assert last.ceiling == {whose: ["mux", "convex"] for whose in ("key", "maker")}


async def test_a_script_that_is_gone_suspends_its_schedules(bench: Bench) -> None:
    """A deleted script, or an alias that means nothing any more."""
    await bench.scripts.set_alias("acme", "job", "prod", 1)
    by_alias, by_name = await bench.make(script_ref="job@prod"), await bench.make()
    await bench.scripts.set_alias("acme", "job", "prod", None)
    await bench.pass_s(1)
    assert (await bench.now(by_alias)).reason == "job has no alias prod"
    assert (await bench.now(by_name)).state is ScheduleState.ACTIVE
    await bench.end_all()
    await bench.scripts.delete("acme", "job")
    await bench.pass_s(1)
    assert (await bench.now(by_name)).reason == "there is no saved script job"


async def test_a_ref_means_at_each_fire_what_it_means_then(bench: Bench) -> None:
    """A pinned version stays; an alias follows."""
    await bench.scripts.set_alias("acme", "job", "prod", 1)
    for ref in ("job@1", "job@prod", "job"):
        await bench.make(script_ref=ref)
    await bench.save("return 2")
    await bench.scripts.set_alias("acme", "job", "prod", 2)
    await bench.pass_s(1)
    assert sorted(run.script_ref or "" for run in await bench.started()) == [
        *("job@1", "job@2", "job@2")
    ]


async def test_an_input_that_no_longer_fits_fails_its_fire(bench: Bench) -> None:
    """The schedule goes on: the script may be put right."""
    one = await bench.make(input={"n": "1"})
    await bench.save("return 2", input_schema={"properties": {"n": {"type": "integer"}}})
    await bench.pass_s(1)
    shown = await bench.now(one)
    assert (shown.state, shown.counts.failed) == (ScheduleState.ACTIVE, 1)
    (row,) = await bench.schedules.history("acme", one.id, limit=9)
    assert row.reason == '/input/n: "1" is not of type "integer"'
