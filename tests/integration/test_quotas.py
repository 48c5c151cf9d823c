"""Quotas of tenants and keys: every run that is accepted is counted, in one step with it."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from core import keys
from core.errors import Forbidden, Invalid, QuotaExceeded
from core.redis_client import connect_async
from core.redis_server import PrivateRedis
from runs.acceptance import Terms
from runs.endings import Ending, record_fields, tape_body
from runs.erasing import PERIOD_S, forget_runs
from runs.model import RunRequest
from runs.quotas import quotas_of
from runs.redis_scripts import Arg, load
from runs.store import RunStore
from sandbox.limits import SPECS
from sandbox.outcome import Reason, Usage
from worker.plan import WorkerPlan
from worker.sweep import Sweep


class Tenant:
    """A tenant with terms and one key, over a real Redis."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.redis = client
        self.store = RunStore(client, Terms(queue_max=1_000))

    async def terms(self, key: str | None = None, /, **terms: int) -> None:
        """Give the tenant, or a key, terms."""
        where = keys.key_terms("acme", key) if key else keys.terms("acme")
        for name, value in terms.items():
            await self.redis.hset(where, name, str(value))

    async def submit(self, key: str = "key_a", **limits: int) -> Any:
        """Submit a no-op with these limits."""
        request = RunRequest(script="return 1", limits=limits)
        return await self.store.submit("acme", request, key_id=key)


@pytest.fixture
def tenant(redis_async: redis.asyncio.Redis) -> Tenant:
    """The tenant acme."""
    return Tenant(redis_async)


async def test_without_terms_no_rate_is_counted(tenant: Tenant) -> None:
    """Who has no quota pays for none: nothing is written beside the run."""
    await tenant.submit()
    assert not await tenant.redis.exists(keys.quota("acme"), keys.quota("acme", "key_a"))


async def test_a_rate_lets_exactly_its_quota_pass(tenant: Tenant) -> None:
    """The error names the quota, what is used and allowed, and when to ask again."""
    await tenant.terms(runs_per_minute=3)
    for _ in range(3):
        await tenant.submit()
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit()
    error = refused.value
    assert (error.quota, error.whose, error.used, error.allowed) == (
        "runs_per_minute",
        "tenant",
        3,
        3,
    )
    assert 1 <= error.retry_after_s <= 61
    assert await tenant.redis.llen("rq:queue:t.acme.normal") == 3


class Worker:
    """Claims and finishes as a worker does, without executing anything."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client
        self._numbers = itertools.count()

    async def claim(self, want: int = 1) -> list[tuple[str, str, str]]:
        """Claim runs; give queue, id and execution of each."""
        executions = [f"e{next(self._numbers)}" for _ in range(want)]
        head: list[Arg] = [want, 30, "w", "2026-01-01T00:00:00.000000Z", 0, "", 0, "{}", "null", 0]
        rows = await load("claim").run_async(self._redis, [*head, *executions])
        return [(row[1].decode(), row[2].decode(), row[3].decode()) for row in rows]

    async def finish(
        self, claim: tuple[str, str, str], instructions: int = 0, reason: Reason = Reason.OK
    ) -> None:
        """End a claimed run, which used so many instructions."""
        ending = Ending(reason, usage=Usage(instructions=instructions))
        args: list[Arg] = [*claim, "w", "finished", "", "2026-01-01T00:00:00.000000Z", "0", "0"]
        args += [ending.state.value, reason.value, tape_body(ending, 1), *record_fields(ending)]
        assert await load("finish").run_async(self._redis, args) >= 1


@pytest.fixture
def worker(redis_async: redis.asyncio.Redis) -> Worker:
    """A worker."""
    return Worker(redis_async)


async def used(tenant: Tenant, quota: str, key: str | None = None) -> int:
    """Give what is counted in a quota at the moment."""
    kept = await tenant.redis.hget(keys.quota("acme", key), f"{quota}:sum")
    return int(kept or 0)


async def test_a_key_has_its_own_quota_within_its_tenants(tenant: Tenant) -> None:
    """Both must have room; what one refuses is counted in neither."""
    await tenant.terms(runs_per_minute=3)
    await tenant.terms("key_a", runs_per_minute=1)
    await tenant.submit("key_a")
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit("key_a")
    assert (refused.value.whose, refused.value.allowed) == ("key", 1)
    assert await used(tenant, "runs_per_minute") == 1
    await tenant.submit("key_b")
    await tenant.submit("key_b")
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit("key_b")
    assert refused.value.whose == "tenant"


async def test_instructions_are_reserved_and_what_was_not_used_is_given_back(
    tenant: Tenant, worker: Worker
) -> None:
    """Runs in hand count by their limits, ended ones by what they used, as their records say."""
    await tenant.terms(instructions_per_minute=10_000, instructions_per_day=10_000)
    await tenant.terms("key_a", instructions_per_minute=10_000)
    await tenant.submit(instructions=6_000)
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit(instructions=6_000)
    assert (refused.value.used, refused.value.allowed) == (6_000, 10_000)
    assert "limits.instructions" in (refused.value.hint or "")
    (claim,) = await worker.claim()
    await worker.finish(claim, instructions=1_500)
    for quota, key in (
        ("instructions_per_minute", None),
        ("instructions_per_day", None),
        ("instructions_per_minute", "key_a"),
    ):
        assert await used(tenant, quota, key) == 1_500
    await tenant.submit(instructions=6_000)


async def test_what_runs_under_way_have_reserved_is_worth_asking_for_soon(
    tenant: Tenant, worker: Worker
) -> None:
    """It may be free with their next end; what is used is gone until it leaves the window."""
    await tenant.terms(instructions_per_day=10_000)
    await tenant.submit(instructions=9_000)
    for used_instructions in (2_000, 0):  # 0: the child was killed, and all of it counts
        with pytest.raises(QuotaExceeded) as refused:
            await tenant.submit(instructions=8_000)
        assert refused.value.retry_after_s == 5
        (claim,) = await worker.claim()
        await worker.finish(claim, instructions=used_instructions)
        with pytest.raises(QuotaExceeded) as refused:
            await tenant.submit(instructions=9_000)
        assert refused.value.retry_after_s > 3_600
        if used_instructions:
            await tenant.submit(instructions=8_000)


async def test_a_run_gives_back_only_what_was_counted_for_it(
    tenant: Tenant, worker: Worker
) -> None:
    """A quota that was set after a run's acceptance loses nothing of what others reserved in it."""
    await tenant.terms(instructions_per_minute=20_000)
    await tenant.submit(instructions=6_000)
    await tenant.terms(instructions_per_day=10_000)
    await tenant.terms("key_a", instructions_per_minute=10_000)
    later = await tenant.submit(instructions=5_000)
    (claim,) = await worker.claim()
    await worker.finish(claim, instructions=1_500)
    assert await used(tenant, "instructions_per_minute") == 6_500
    assert await used(tenant, "instructions_per_day") == 5_000
    assert await used(tenant, "instructions_per_minute", "key_a") == 5_000
    await tenant.store.cancel("acme", later.id)
    assert await used(tenant, "instructions_per_minute") == 1_500
    assert await used(tenant, "instructions_per_day") == 0
    assert await used(tenant, "instructions_per_minute", "key_a") == 0


@pytest.mark.parametrize(
    ("reason", "counted"),
    [
        (Reason.CPU_LIMIT, 6_000),
        (Reason.WALL_LIMIT, 6_000),
        (Reason.CANCELLED, 6_000),
        (Reason.CRASHED, 6_000),
        (Reason.SANDBOX_UNAVAILABLE, 0),
    ],
)
async def test_a_run_whose_child_was_killed_used_all_that_it_might_have(
    tenant: Tenant, worker: Worker, reason: Reason, counted: int
) -> None:
    """Its count went with the child: else loops that run into another limit would be free."""
    await tenant.terms(instructions_per_minute=10_000)
    await tenant.submit(instructions=6_000)
    (claim,) = await worker.claim()
    await worker.finish(claim, reason=reason)
    assert await used(tenant, "instructions_per_minute") == counted


async def test_a_run_that_was_cancelled_in_its_queue_used_nothing(tenant: Tenant) -> None:
    """All that was reserved for it is free again."""
    await tenant.terms(instructions_per_minute=10_000)
    record = await tenant.submit(instructions=6_000)
    await tenant.store.cancel("acme", record.id)
    assert await used(tenant, "instructions_per_minute") == 0


async def test_concurrent_submissions_cannot_overrun_a_quota(
    tenant: Tenant, redis_url: str
) -> None:
    """However many come at once over however many connections, exactly the quota passes."""
    await tenant.terms(instructions_per_day=50_000, runs_per_minute=1_000)
    clients = [connect_async(redis_url) for _ in range(2)]
    stores = [RunStore(one) for one in clients]
    request = RunRequest(script="return 1", limits={"instructions": 1_000})
    asked = [stores[n % 2].submit("acme", request, key_id="key_a") for n in range(120)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for one in clients:
        await one.aclose()
    assert sum(isinstance(one, QuotaExceeded) for one in answers) == 70
    assert await used(tenant, "instructions_per_day") == 50_000
    assert await used(tenant, "runs_per_minute") == 50


async def test_a_quota_below_its_use_lets_nothing_pass_and_tells_both(tenant: Tenant) -> None:
    """Lowering a quota takes nothing back; nothing more passes until enough has left the window."""
    await tenant.terms(runs_per_minute=5)
    for _ in range(5):
        await tenant.submit()
    await tenant.terms(runs_per_minute=2)
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit()
    assert (refused.value.used, refused.value.allowed) == (5, 2)


async def test_a_quota_of_nothing_lets_nothing_pass(tenant: Tenant) -> None:
    """0 cannot be set by our own means; if it stands there, it is no lack of a quota."""
    await tenant.terms(runs_per_day=0)
    with pytest.raises(QuotaExceeded):
        await tenant.submit()


async def test_a_run_larger_than_the_whole_quota_is_told_so(tenant: Tenant) -> None:
    """Waiting would not help: the answer says what would."""
    await tenant.terms(instructions_per_minute=1_000)
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit(instructions=5_000)
    assert refused.value.used == 0
    assert "ask for less in limits.instructions" in (refused.value.hint or "")


async def test_a_full_queue_of_a_key_leaves_the_tenants_others_alone(
    tenant: Tenant, worker: Worker
) -> None:
    """A key's place is free when its run begins, ends or is cancelled."""
    await tenant.terms("key_a", queued_runs=1)
    first = await tenant.submit("key_a")
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.submit("key_a")
    assert (refused.value.quota, refused.value.whose) == ("queued_runs", "key")
    await tenant.submit("key_b")
    await tenant.store.cancel("acme", first.id)
    await tenant.submit("key_a")
    await worker.claim(2)
    await tenant.submit("key_a")


async def test_runs_at_once_of_a_key_hold_over_all_workers_and_block_nobody_else(
    tenant: Tenant, worker: Worker
) -> None:
    """Runs of a key at its cap let those of others pass, keep their order, and count as queued."""
    await tenant.terms("key_a", concurrent_runs=1)
    await tenant.terms(queued_runs=4)
    mine = [(await tenant.submit("key_a")).id for _ in range(3)]
    other = (await tenant.submit("key_b")).id
    claimed = await worker.claim(4)
    assert [run for _, run, _ in claimed] == [mine[0], other]
    await tenant.submit("key_b")
    await tenant.submit("key_b")
    with pytest.raises(QuotaExceeded, match="4 runs are queued or wait"):
        await tenant.submit("key_b")
    await tenant.store.cancel("acme", mine[1])
    await worker.finish(claimed[0])
    again = await worker.claim(4)
    assert mine[2] in [run for _, run, _ in again]
    assert mine[1] not in [run for _, run, _ in again]
    for claim in again:
        await worker.finish(claim)
    await worker.finish(claimed[1])
    left = await tenant.redis.keys("ms:held:*") + await tenant.redis.keys("ms:running:*")
    assert left + await tenant.redis.keys("ms:queued:*") == []


async def a_millisecond_each(tenant: Tenant, count: int) -> list[str]:
    """Submit runs of one key, as if each had come in a millisecond of its own; give their ids."""
    ids = [(await tenant.submit("key_a")).id for _ in range(count)]
    for number, one in enumerate(ids):
        await tenant.redis.hset(keys.run(one), "created_ms", str(number + 1))
    return ids


async def test_a_key_is_held_to_runs_at_once_that_were_set_after_it_queued(
    tenant: Tenant, worker: Worker
) -> None:
    """Who went mad before somebody looked is calmed as well."""
    mine = await a_millisecond_each(tenant, 3)
    other = (await tenant.submit("key_b")).id
    await tenant.terms("key_a", concurrent_runs=1)
    claimed = await worker.claim(4)
    assert [run for _, run, _ in claimed] == [mine[0], other]
    used_now = await quotas_of(tenant.redis, "acme", "key_a", queue_max=10)
    assert {(one.quota, one.used) for one in used_now if one.whose == "key"} == {
        ("concurrent_runs", 1)
    }
    for expected in mine[1:]:
        await worker.finish(claimed[0])
        claimed = await worker.claim(4)
        assert [run for _, run, _ in claimed] == [expected]
    await worker.finish(claimed[0])
    assert await tenant.redis.keys("ms:*:acme:key_a") == [b"ms:terms:acme:key_a"]


async def test_runs_of_a_key_go_on_when_its_bound_is_raised_or_taken_off(
    tenant: Tenant, worker: Worker
) -> None:
    """With the next sweep, and not only when the one that is in hand has ended."""
    await tenant.terms("key_a", concurrent_runs=1)
    mine = await a_millisecond_each(tenant, 4)
    sweep = Sweep(tenant.redis, WorkerPlan("w", 1, lease_s=30))
    begun = await worker.claim(4)
    await sweep.once()
    assert await worker.claim(4) == []
    await tenant.terms("key_a", concurrent_runs=2)
    await sweep.once()
    begun += await worker.claim(4)
    assert [run for _, run, _ in begun] == mine[:2]
    await tenant.redis.delete(keys.key_terms("acme", "key_a"))
    await sweep.once()
    begun += await worker.claim(4)
    assert [run for _, run, _ in begun] == mine
    await sweep.once()
    assert not await tenant.redis.exists(keys.HOLDING)


async def test_a_suspended_tenant_starts_nothing(tenant: Tenant) -> None:
    """Suspension is no quota: there is nothing to wait for."""
    await tenant.terms(suspended_ms=1)
    with pytest.raises(Forbidden, match="suspended"):
        await tenant.submit()


async def test_bytes_are_counted_until_they_are_gone(tenant: Tenant, worker: Worker) -> None:
    """What a run takes is measured at its end; the quota says what is stored and what it asks."""
    await tenant.store.submit("acme", RunRequest(script="return 1", input="x" * 50_000), key_id="k")
    total = int(await tenant.redis.hget(keys.stored("acme"), "total") or 0)
    assert total > 50_000
    await tenant.terms(stored_bytes=100_000)
    request = RunRequest(script="return 1", input="x" * 50_000)
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.store.submit("acme", request, key_id="k")
    assert (refused.value.quota, refused.value.used) == ("stored_bytes", total)
    (claim,) = await worker.claim()
    await worker.finish(claim)
    after = int(await tenant.redis.hget(keys.stored("acme"), "total") or 0)
    found = await tenant.redis.hget(keys.run(claim[1]), "stored")
    assert found is not None
    measured = int(str(found, "ascii").split("|")[0]) if isinstance(found, bytes) else 0
    assert 50_000 < measured < 80_000
    assert after == measured + len("return 1")


async def test_bytes_of_runs_that_have_expired_are_counted_no_more(tenant: Tenant) -> None:
    """Nobody tells of a key that expires: the period in which it did takes it off."""
    now = int(time.time()) // 21_600
    for field, value in {"total": 500, "at": now - 9, str(now - 3): 300, str(now): 200}.items():
        await tenant.redis.hset(keys.stored("acme"), field, str(value))
    await tenant.terms(stored_bytes=5_000)
    with pytest.raises(QuotaExceeded) as refused:
        await tenant.store.submit(
            "acme", RunRequest(script="return 1", input="x" * 5_000), key_id="k"
        )
    assert refused.value.used == 200
    assert 1 <= refused.value.retry_after_s <= 21_600


async def test_a_default_above_its_ceiling_is_lowered_and_what_is_asked_for_refused(
    tenant: Tenant,
) -> None:
    """The record shows what holds; the refusal names the limit, what was asked and the ceiling."""
    await tenant.terms(**{"ceiling.instructions": 50_000})
    await tenant.terms("key_a", **{"ceiling.instructions": 20_000, "ceiling.wall_ms": 900})
    record = await tenant.submit("key_a")
    assert (record.limits["instructions"], record.limits["wall_ms"]) == (20_000, 900)
    assert (await tenant.submit("key_b")).limits["instructions"] == 50_000
    with pytest.raises(Invalid, match="at most 20000 instructions here, not 30000") as refused:
        await tenant.submit("key_a", instructions=30_000)
    assert refused.value.pointer == "/limits/instructions"
    assert (await tenant.submit("key_a", instructions=20_000)).limits["instructions"] == 20_000
    assert await tenant.redis.llen("rq:queue:t.acme.normal") == 3


def test_redis_knows_every_limit_that_can_have_a_ceiling() -> None:
    """A limit that the script does not know would have no ceiling."""
    text = load("enqueue").text
    named = re.findall(r"'(\w+)'", text[text.index("local LIMITS") :].partition("}")[0])
    assert named == list(SPECS)


async def test_an_erased_run_takes_no_bytes_and_its_answer_goes_with_it(
    tenant: Tenant, worker: Worker, redis_sync: redis.Redis
) -> None:
    """Erased once or twice: what it took is taken off once, and no answer tells of it."""
    assert int(re.findall(r"PERIOD_S = (\d+)", load("enqueue").text)[0]) == PERIOD_S
    record = await tenant.submit()
    answer = keys.idempotency("acme", "0" * 32)
    redis_sync.hset(answer, "body", "{}")
    redis_sync.hset(keys.run(record.id), "answered", answer)
    (claim,) = await worker.claim()
    await worker.finish(claim)
    for _ in range(2):
        forget_runs(redis_sync, {record.id: "acme"})
    kept = redis_sync.hget(keys.stored("acme"), "total")
    assert kept == str(len("return 1")).encode()
    assert not redis_sync.exists(answer)


async def test_quotas_survive_a_restart_of_redis(tmp_path: Path) -> None:
    """What was counted and reserved stands in Redis' file: a restart gives nobody a new quota."""
    with PrivateRedis(tmp_path) as server:
        async with connect_async(server.url) as client:
            tenant = Tenant(client)
            await tenant.terms(runs_per_day=2, instructions_per_day=10_000)
            await tenant.submit(instructions=1_000)
            await tenant.submit(instructions=2_000)
    with PrivateRedis(tmp_path) as server:
        async with connect_async(server.url) as client:
            tenant = Tenant(client)
            assert await used(tenant, "instructions_per_day") == 3_000
            with pytest.raises(QuotaExceeded):
                await tenant.submit(instructions=1_000)


async def test_what_is_used_of_every_quota_is_shown_and_showing_counts_nothing(
    tenant: Tenant,
) -> None:
    """The tenant's own and those of the key that asks; another key's are not shown."""
    await tenant.terms(runs_per_minute=9, concurrent_runs=3)
    await tenant.terms("key_b", runs_per_day=1)
    await tenant.submit("key_b")
    await tenant.redis.hset(keys.terms("acme"), "calls_per_minute.mux", "7")
    for _ in range(2):
        shown = await quotas_of(tenant.redis, "acme", "key_a", queue_max=40)
    assert {(one.whose, one.quota): (one.allowed, one.used, one.span_s) for one in shown} == {
        ("tenant", "queued_runs"): (40, 1, 0),
        ("tenant", "concurrent_runs"): (3, 0, 0),
        ("tenant", "stored_bytes"): (-1, await stored(tenant), 0),
        ("tenant", "runs_per_minute"): (9, 1, 60),
        ("tenant", "calls_per_minute.mux"): (7, 0, 60),
    }
    of_key = await quotas_of(tenant.redis, "acme", "key_b", queue_max=40)
    assert [(one.quota, one.used) for one in of_key if one.whose == "key"] == [("runs_per_day", 1)]


async def stored(tenant: Tenant) -> int:
    """Give the bytes that are counted."""
    return int(await tenant.redis.hget(keys.stored("acme"), "total") or 0)
