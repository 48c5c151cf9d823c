"""Who goes next: tenants by their turns and weights, the runs of one tenant by their priorities."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import redis
import redis.asyncio

from core import keys
from core.redis_client import connect
from runs.model import Priority, RunRequest, State
from runs.redis_scripts import Arg, load
from runs.store import RunStore
from tests.deadline import Deadline
from tests.integration.run_watching import TENANT, submit
from tests.worker_processes import LEASE_S
from worker.claim import Claim, Claimer
from worker.plan import WorkerPlan
from worker.sweep import Sweep


def claimer(client: redis.Redis, *, share: int = 0, name: str = "w") -> Claimer:
    """Make what claims for a worker."""
    return Claimer(client, WorkerPlan(name, 999, lease_s=60, share=share))


def take(client: redis.Redis, count: int, *, share: int = 0) -> list[Claim]:
    """Claim `count` runs, one at a time, as a busy worker does."""
    one, taken = claimer(client, share=share), list[Claim]()
    for _ in range(count):
        taken += one.claim(1) or []
    return taken


def tenants(claims: list[Claim]) -> list[str]:
    """Give the tenants of claims, in order."""
    return [keys.tenant_of(claim.queue) for claim in claims]


def on_the_ring(client: redis.Redis) -> list[str]:
    """Give the tenants that are in line, the next one first."""
    members: Any = client.zrange(keys.RING, 0, -1)
    return [one.decode() for one in members]


async def backlog(store: RunStore, tenant: str, count: int, priority: str = "normal") -> list[str]:
    """Queue runs of a tenant."""
    request = RunRequest(script="return 1", priority=Priority(priority))
    return [await submit(store, request, tenant) for _ in range(count)]


async def test_an_idle_tenants_run_starts_next(store: RunStore, redis_sync: redis.Redis) -> None:
    """Whatever others queued, and however long ago."""
    for tenant in ("a", "b", "c"):
        await backlog(store, tenant, 20)
    take(redis_sync, 7)

    await backlog(store, "z", 1)
    await backlog(store, "y", 1)

    assert tenants(take(redis_sync, 2)) == ["z", "y"]


async def test_tenants_with_a_backlog_take_turns(store: RunStore, redis_sync: redis.Redis) -> None:
    """No tenant is served twice before each of the others was."""
    for tenant in ("a", "b", "c"):
        await backlog(store, tenant, 12)

    order = tenants(take(redis_sync, 30))

    assert all(len(set(order[at : at + 3])) == 3 for at in range(0, 30, 3))


async def test_a_tenant_gets_turns_by_its_weight(store: RunStore, redis_sync: redis.Redis) -> None:
    """Of 40 turns, one with weight 3 beside one with weight 1 gets 30; a change counts at once."""
    redis_sync.hset(keys.terms("a"), "weight", 3)
    await backlog(store, "a", 60)
    await backlog(store, "b", 60)

    assert 29 <= Counter(tenants(take(redis_sync, 40)))["a"] <= 31
    redis_sync.hset(keys.terms("a"), "weight", 1)
    assert 9 <= Counter(tenants(take(redis_sync, 20)))["a"] <= 11


async def test_leaving_and_coming_back_gains_nothing(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """Who queues one run at a time gets every other turn beside a backlog, not every turn."""
    await backlog(store, "a", 60)
    order = []
    for _ in range(40):
        if "b" not in on_the_ring(redis_sync):
            await backlog(store, "b", 1)
        order += tenants(take(redis_sync, 1))

    assert 19 <= Counter(order)["a"] <= 21


async def test_what_is_remembered_of_idle_tenants_is_forgotten(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """Tenants that are gone leave no trace once the others have caught up."""
    for number in range(20):
        await backlog(store, f"t{number}", 1)
    await backlog(store, "a", 10)
    take(redis_sync, 30)

    assert redis_sync.zcard(keys.TURNS) <= 2


async def test_higher_priorities_go_first_and_lower_ones_are_not_starved(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """High before normal before low; who was passed over nine times in a row has the next turn."""
    for priority in ("low", "normal", "high"):
        await backlog(store, TENANT, 30, priority)

    order = [one.queue.rpartition(".")[2] for one in take(redis_sync, 33)]

    assert order[:9] == ["high"] * 9
    assert order[9:11] == ["normal", "low"]
    assert all("low" in order[at : at + 11] for at in range(22))
    assert Counter(order) == {"high": 27, "normal": 3, "low": 3}


async def test_priorities_of_one_tenant_do_not_pass_another_tenant(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """A high priority goes before runs of the same tenant only."""
    await backlog(store, "a", 10)
    await backlog(store, "b", 10, "high")

    assert Counter(tenants(take(redis_sync, 10))) == {"a": 5, "b": 5}


async def test_a_tenant_with_deleted_jobs_only_holds_nobody_up(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """Their runs end as expired, and another tenant's run is given out by the same call."""
    gone = await backlog(store, "a", 40)
    redis_sync.delete(*(f"rq:job:{one}" for one in gone))
    await backlog(store, "b", 1)

    claims = claimer(redis_sync).claim(2) or []

    assert tenants(claims) == ["b"]
    assert on_the_ring(redis_sync) == []
    assert {(await store.get("a", one)).reason for one in gone} == {"expired"}


async def test_two_workers_that_race_do_not_pass_the_cap(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A tenant's `concurrent_runs` hold over all workers together."""
    redis_sync.hset(keys.terms(TENANT), "concurrent_runs", 5)
    await backlog(store, TENANT, 40, "high")
    await backlog(store, TENANT, 40)
    most: list[int] = []

    def work(name: str) -> None:
        with connect(redis_url) as client:
            one = claimer(client, name=name)
            for _ in range(40):
                one.claim(3)
                most.append(sum(client.zcard(f"rq:wip:{queue}") for queue in keys.queues(TENANT)))

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(most) == 5
    assert redis_sync.smembers(keys.PARKED) == {TENANT.encode()}
    assert redis_sync.zcard(keys.RING) == 0


async def test_a_cap_may_be_changed_while_runs_are_in_hand(
    store: RunStore, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """Lowered it starts nothing until enough have ended; raised it starts more without an end."""
    await backlog(store, TENANT, 10)
    held = take(redis_sync, 4)
    redis_sync.hset(keys.terms(TENANT), "concurrent_runs", 2)
    assert take(redis_sync, 1) == []
    for claim in held[:2]:
        end(redis_sync, claim)
        assert take(redis_sync, 1) == []
    end(redis_sync, held[2])
    assert len(take(redis_sync, 2)) == 1

    redis_sync.hset(keys.terms(TENANT), "concurrent_runs", 4)
    await Sweep(redis_async, WorkerPlan("w", 1, lease_s=LEASE_S)).once()

    assert len(take(redis_sync, 3)) == 2


async def test_a_suspended_tenant_begins_nothing_and_loses_nothing(
    store: RunStore, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """What it has queued waits until it may go on."""
    await backlog(store, TENANT, 2)
    redis_sync.hset(keys.terms(TENANT), "suspended_ms", 1)
    assert take(redis_sync, 2) == []

    redis_sync.hdel(keys.terms(TENANT), "suspended_ms")
    await Sweep(redis_async, WorkerPlan("w", 1, lease_s=LEASE_S)).once()

    assert len(take(redis_sync, 2)) == 2


async def test_turns_go_on_when_redis_forgets_its_scripts(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """Nothing of the order is in a script's memory."""
    for tenant in ("a", "b"):
        await backlog(store, tenant, 4)
    order = []
    for _ in range(8):
        redis_sync.script_flush()
        order += tenants(take(redis_sync, 1))

    assert all(set(order[at : at + 2]) == {"a", "b"} for at in range(0, 8, 2))


async def test_a_turn_that_was_taken_off_the_ring_can_be_given_back(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """A worker that is told to stop while it waits costs the tenant nothing."""
    for tenant in ("a", "b"):
        await backlog(store, tenant, 3)
    before = redis_sync.zrange(keys.RING, 0, -1, withscores=True)
    one = claimer(redis_sync)
    turn = one.wait(1)
    assert turn is not None
    one.give_back(turn)

    assert redis_sync.zrange(keys.RING, 0, -1, withscores=True) == before


async def test_a_worker_that_dies_with_a_turn_costs_a_moment(
    store: RunStore, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """The sweep puts a tenant back on the ring that has runs and is not there."""
    run_id = (await backlog(store, TENANT, 1))[0]
    assert claimer(redis_sync).wait(1) is not None
    assert take(redis_sync, 1) == []

    await Sweep(redis_async, WorkerPlan("w", 1, lease_s=LEASE_S)).once()

    assert [claim.run_id for claim in take(redis_sync, 1)] == [run_id]
    assert (await store.get(TENANT, run_id)).status is State.RUNNING


def end(client: redis.Redis, claim: Claim) -> None:
    """End a claim as a worker does whose run ended earlier: the slot is free again."""
    args: list[Arg] = [
        claim.queue,
        claim.run_id,
        claim.execution,
        "w",
        "finished",
        b"",
        "",
        claim.started,
    ]
    assert load("finish").run(client, [*args, "0.1", "succeeded", "ok", b"{}"]) == 1


async def test_the_sweep_comes_to_every_queue_of_very_many(
    store: RunStore, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """It looks at some thousands at a time and goes on where it was."""
    pipeline = redis_sync.pipeline(transaction=False)
    for number in range(20_000):
        pipeline.sadd("rq:queues", f"rq:queue:{keys.queue(f'gone{number}')}")
    pipeline.execute()
    run_id = (await backlog(store, TENANT, 1))[0]
    redis_sync.delete(keys.RING)
    sweep = Sweep(redis_async, WorkerPlan("w", 1, lease_s=LEASE_S))

    async def found() -> bool:
        await sweep.once()
        return on_the_ring(redis_sync) == [TENANT]

    await Deadline().reached(found, "its turn", seconds=30)
    assert [claim.run_id for claim in take(redis_sync, 1)] == [run_id]


async def test_a_heartbeat_that_was_on_its_way_takes_no_lease_back(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """A run that was let go after a fault is judged by the next sweep, and not a lease later."""
    await backlog(store, "acme", 1)
    (claim,) = take(redis_sync, 1)
    lease = f"rq:wip:{claim.queue}", f"{claim.run_id}:{claim.execution}"
    given: list[Arg] = [claim.queue, claim.run_id, claim.execution]
    before: Any = redis_sync.zscore(*lease)
    assert before > 1
    assert load("let_go").run(redis_sync, [*given, 1, 0, ""]) == 1
    renewed: Any = load("renew").run(redis_sync, ["w", 60, LEASE_S, "", *given])
    assert renewed[1] == [lease[1].encode()]
    assert redis_sync.zscore(*lease) == 1
