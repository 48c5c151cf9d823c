"""Workers that are told to go while they are busy: nothing is lost and nothing is done twice."""

from __future__ import annotations

import signal

import pytest
import redis

from core import keys
from runs.model import RunRequest, State
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor
from tests.integration.run_watching import (
    ENDLESS,
    TENANT,
    attempt_of,
    ended,
    in_state,
    nothing_held,
    submit,
    tape,
)
from tests.worker_processes import WorkerProcess, running_worker

RUNS = 60
PAYS = """
app.integrations.till.price({ tag = input })
sleep(0.05)
return app.integrations.till.pay_once({ tag = input }).tag
"""


async def submitted(store: RunStore) -> list[str]:
    """Queue runs that read, sleep a little and pay once each."""
    requests = [RunRequest(script=PAYS, input=f"tag{number}") for number in range(RUNS)]
    return [await submit(store, request) for request in requests]


def count_ended(client: redis.Redis, runs: list[str]) -> int:
    """Count the runs that have succeeded."""
    states = [client.hget(keys.run(run_id), "state") for run_id in runs]
    return states.count(b"succeeded")


def stop_after(worker: WorkerProcess, client: redis.Redis, runs: list[str], count: int) -> None:
    """Tell a worker to go when so many runs have ended."""
    Deadline().until(lambda: count_ended(client, runs) >= count, f"{count} ends", seconds=30)
    worker.signal(signal.SIGTERM)


async def all_paid_once(store: RunStore, vendor: CountingVendor, runs: list[str]) -> None:
    """Hold every run to one success, one payment, and no worker that it lost."""
    for number, run_id in enumerate(runs):
        record = await ended(store, run_id, seconds=60)
        assert (record.reason, record.result) == (Reason.OK, f"tag{number}")
        assert vendor.done[f"tag{number}"] == 1


@pytest.mark.parametrize("grace_s", [0, 30])
async def test_told_to_go_under_load_nothing_is_lost(
    redis_url: str,
    store: RunStore,
    redis_sync: redis.Redis,
    vendor: CountingVendor,
    grace_s: int,
) -> None:
    """With or without grace: each run ends well, pays once, and counts no worker as lost."""
    runs = await submitted(store)
    for count in (1, 12, 30):
        with running_worker(
            redis_url, slots=8, shutdown_grace_s=grace_s, lease_s=60, **vendor.settings
        ) as worker:
            stop_after(worker, redis_sync, runs, count)
            assert worker.process.wait(40) == 0
        assert nothing_held(redis_sync)

    with running_worker(redis_url, slots=8, attempts=1, **vendor.settings):
        await all_paid_once(store, vendor, runs)
    assert {redis_sync.hget(keys.run(one), "lost") for one in runs} <= {None, b"0"}
    if grace_s:
        assert {(await store.get(TENANT, one)).attempt for one in runs} == {1}


async def test_told_to_go_before_its_first_claim_a_worker_takes_nothing_with_it(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, vendor: CountingVendor
) -> None:
    """A signal that comes while it claims leaves each run queued, or ended, and in no hands."""
    runs = await submitted(store)
    for _ in range(3):
        with running_worker(redis_url, slots=8, lease_s=60, **vendor.settings) as worker:
            assert worker.stop() == 0
        assert nothing_held(redis_sync)

    with running_worker(redis_url, slots=8, **vendor.settings):
        await all_paid_once(store, vendor, runs)


async def test_told_twice_it_hands_its_runs_back_at_once(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, vendor: CountingVendor
) -> None:
    """A second signal ends the grace; the runs stand in their queue when it has gone."""
    runs = await submitted(store)
    with running_worker(
        redis_url, slots=8, shutdown_grace_s=600, lease_s=60, **vendor.settings
    ) as worker:
        stop_after(worker, redis_sync, runs, 5)
        Deadline().until(worker.gone_when_told_again, "its end", seconds=20)
        assert worker.process.returncode == 0
    assert nothing_held(redis_sync)
    left = [one for one in runs if not (await store.get(TENANT, one)).status.terminal]
    assert redis_sync.llen(f"rq:queue:{keys.queue(TENANT)}") == len(left)

    with running_worker(redis_url, slots=8, attempts=1, **vendor.settings):
        await all_paid_once(store, vendor, runs)


async def test_killed_in_its_grace_it_is_like_any_lost_worker(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, vendor: CountingVendor
) -> None:
    """Leases run out, and the runs go on over their tapes."""
    runs = await submitted(store)
    endless = await submit(store, ENDLESS)
    with running_worker(redis_url, slots=8, shutdown_grace_s=600, **vendor.settings) as worker:
        stop_after(worker, redis_sync, runs, 5)
        worker.kill()

    with running_worker(redis_url, slots=8, **vendor.settings):
        await all_paid_once(store, vendor, runs)
        await in_state(store, endless, State.RUNNING, seconds=30)


async def test_a_run_that_is_handed_back_goes_on_without_a_sweep(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A worker that waits takes it in the moment it is given back, at the front of its queue."""
    with running_worker(redis_url, slots=1, shutdown_grace_s=0, lease_s=300) as first:
        run_id = await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)
        behind = await submit(store, ENDLESS)
        assert first.stop() == 0
    assert redis_sync.lrange(f"rq:queue:{keys.queue(TENANT)}", 0, -1) == [
        run_id.encode(),
        behind.encode(),
    ]

    with running_worker(redis_url, slots=1, lease_s=300):
        await attempt_of(store, run_id, 2)
        await store.cancel(TENANT, run_id)
        assert (await ended(store, run_id)).reason is Reason.CANCELLED
    assert tape(redis_sync, run_id) == ["accepted", "started", "started", "finished"]


async def test_a_worker_that_goes_leaves_its_turn_to_look_around(
    redis_url: str, redis_sync: redis.Redis
) -> None:
    """What it let go is judged by whoever comes next, at once; a turn of others' stays theirs."""
    with running_worker(redis_url, slots=1, lease_s=300) as first:
        Deadline().until(lambda: redis_sync.get(keys.SWEEP_LOCK), "its turn")
        turn = redis_sync.get(keys.SWEEP_LOCK)
        with running_worker(redis_url, slots=1, lease_s=300) as other:
            assert other.stop() == 0
        assert redis_sync.get(keys.SWEEP_LOCK) == turn
        assert first.stop() == 0
    assert redis_sync.get(keys.SWEEP_LOCK) is None


async def test_a_run_that_is_to_be_cancelled_is_not_handed_back(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """Whoever sweeps next ends it by what its tape says; it is not executed again."""
    with running_worker(redis_url, slots=1, shutdown_grace_s=0, lease_s=300) as first:
        run_id = await submit(store, ENDLESS)
        await in_state(store, run_id, State.RUNNING)
        first.signal(signal.SIGSTOP)
        await store.cancel(TENANT, run_id)
        first.signal(signal.SIGTERM)
        first.signal(signal.SIGCONT)
        assert first.process.wait(20) == 0

    with running_worker(redis_url, slots=1):
        record = await ended(store, run_id)

    assert (record.reason, record.attempt) == (Reason.CANCELLED, 1)
    assert tape(redis_sync, run_id) == ["accepted", "started", "finished"]
