"""Redis is full: what would begin is refused, what has begun is kept, and all of it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from core import keys
from core.redis_client import connect
from runs.model import RunRequest
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.api_server import ApiServer
from tests.command import environment, moonsand
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.full_redis import fill, full, make_room
from tests.integration.run_watching import TENANT, ended, nothing_held, submit, tape
from tests.integration.test_sequencer_process import sequencer, signed
from tests.sequencing import plain
from tests.worker_processes import LEASE_S, WorkerProcess, running_worker

pytestmark = pytest.mark.anyio
#: Two writes, the second with no key by which the vendor would know it again.
PAYS = RunRequest(
    script="""
    local till = app.integrations.till
    till.pay_once({ tag = "first" })
    print("paid once")
    return till.pay({ tag = "second" }).tag
    """
)
PAYS_ONCE = RunRequest(script='return app.integrations.till.pay({ tag = "first" }).tag')


@pytest.fixture(autouse=True)
def room_at_the_end(redis_url: str) -> Iterator[None]:
    """Leave the server of all tests as it was, whatever fails."""
    yield
    with connect(redis_url) as client:
        make_room(client)


def test_nothing_is_accepted_and_nothing_half_done(redis_url: str, redis_sync: redis.Redis) -> None:
    """A submission is refused with 503 and when to come again, and leaves no key; reading works."""
    with ApiServer(redis_url) as api, api.client(TENANT) as client:
        known = client.post("/v1/runs", json={"script": "return 1"}).json()["id"]
        before = set(redis_sync.keys("*"))
        with full(redis_url):
            refused = client.post("/v1/runs", json={"script": "return 1"})
            assert client.get(f"/v1/runs/{known}").status_code == 200
            assert client.get("/v1/runs").status_code == 200
            ready = client.get("/readyz")
            assert set(redis_sync.keys("*")) == before
        accepted = client.post("/v1/runs", json={"script": "return 1"})

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert "takes no writes" in refused.json()["detail"]
    assert (ready.status_code, ready.json()["checks"]["redis"]["ok"]) == (503, False)
    assert accepted.status_code == 202


def connected(client: redis.Redis) -> int:
    """Count the connections of the server."""
    info: Any = client.info("clients")
    return int(info["connected_clients"])


def lease(client: redis.Redis) -> float:
    """Give the Unix second at which the one lease ends; 0 of a run that was let go."""
    rows: Any = client.zrange(keys.LEASES, 0, 0, withscores=True)
    return float(rows[0][1])


async def test_an_effect_is_written_down_and_the_next_call_is_not_begun(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, vendor: CountingVendor
) -> None:
    """Full between a call's intent and its effect: each write is made once, and no attempt lost."""
    vendor.arm(Hold.AFTER)
    with running_worker(redis_url, attempts=1, **vendor.settings):
        run_id = await submit(store, PAYS)
        Deadline().until(vendor.struck.is_set, "the first request")
        with full(redis_url):
            vendor.release(answer=True)
            Deadline().until(
                lambda: tape(redis_sync, run_id)[-1] == "effect", "the effect of the first"
            )
            Deadline().until(lambda: lease(redis_sync) == 0, "the run to be let go")
        record = await ended(store, run_id, seconds=30)

    assert record.reason is Reason.OK, record.error
    assert record.result == "second"
    assert (vendor.done["first"], vendor.done["second"]) == (1, 1)
    kinds = ["accepted", "started", "intent", "effect", "started", "intent", "effect", "finished"]
    assert tape(redis_sync, run_id) == kinds


async def test_an_intent_that_is_refused_sends_nothing(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, vendor: CountingVendor
) -> None:
    """Full between two calls of a run: the second is sent when there is room, and once."""
    vendor.arm(Hold.AFTER)
    with running_worker(redis_url, attempts=1, **vendor.settings):
        run_id = await submit(store, PAYS)
        Deadline().until(vendor.struck.is_set, "the first request")
        with full(redis_url):
            vendor.release(answer=True)
            Deadline().until(lambda: lease(redis_sync) == 0, "the run to be let go")
            assert vendor.asked["second"] == 0
            assert tape(redis_sync, run_id)[-1] == "effect"
        assert (await ended(store, run_id, seconds=30)).reason is Reason.OK

    assert (vendor.asked["first"], vendor.asked["second"]) == (1, 1)


async def test_a_run_in_hand_keeps_its_lease_and_ends(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, vendor: CountingVendor
) -> None:
    """Full for longer than a lease, and still full at its end: the run ends, executed once."""
    vendor.arm(Hold.AFTER)
    with running_worker(redis_url, **vendor.settings):
        run_id = await submit(store, PAYS_ONCE)
        Deadline().until(vendor.struck.is_set, "the request")
        with full(redis_url):
            began = lease(redis_sync)
            Deadline().until(
                lambda: lease(redis_sync) > began + LEASE_S, "a lease renewed past its first end"
            )
            vendor.release(answer=True)
            record = await ended(store, run_id)
            Deadline().until(lambda: nothing_held(redis_sync), "everything to be given back")

    assert (record.reason, record.result, record.attempt) == (Reason.OK, "first", 1)
    assert vendor.done["first"] == 1


async def test_nothing_is_begun_and_everything_queued_goes_on(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """A worker that starts on a full Redis waits; with room, what was queued is executed."""
    queued = [await submit(store) for _ in range(3)]
    fill(redis_sync)
    others = connected(redis_sync)
    worker = WorkerProcess(redis_url, "--slots", "2")
    try:
        Deadline().until(lambda: connected(redis_sync) > others, "the worker to connect")
        assert not redis_sync.exists("rq:workers")
        assert all(redis_sync.hget(keys.run(one), "state") == b"queued" for one in queued)
        make_room(redis_sync)
        with_room = [await ended(store, one, seconds=30) for one in queued]
        assert worker.process.poll() is None
    finally:
        worker.kill()

    assert [(one.reason, one.attempt) for one in with_room] == [(Reason.OK, 1)] * 3


async def test_a_cancel_is_taken(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, vendor: CountingVendor
) -> None:
    """A queued run ends and a running one is stopped although Redis is full."""
    vendor.arm(Hold.AFTER)
    with running_worker(redis_url, slots=1, **vendor.settings):
        running = await submit(store, PAYS)
        Deadline().until(vendor.struck.is_set, "the request")
        queued = await submit(store)
        with full(redis_url):
            assert (await store.cancel(TENANT, queued)).reason is Reason.CANCELLED
            await store.cancel(TENANT, running)
            assert (await ended(store, running)).reason is Reason.CANCELLED
    assert tape(redis_sync, running)[-1] == "finished"


def test_the_sequencer_makes_room(redis_url: str, redis_sync: redis.Redis, tmp_path: Path) -> None:
    """Started on a Redis that is full of what it is to take, it takes it and signs it."""
    plain(redis_sync, 40)
    with full(redis_url), sequencer(redis_url, tmp_path) as process:
        Deadline().until(lambda: signed(tmp_path) == 40, "the checkpoint", seconds=20)
        Deadline().until(lambda: redis_sync.xlen(keys.LEDGER_INBOX) == 0, "an empty inbox")
        Deadline().until(lambda: redis_sync.get(keys.LEDGER_CHECKPOINT), "its publication")
        process.terminate()
        assert process.wait(15) == 0


def test_an_operators_command_says_what_is_wrong(
    redis_url: str, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """`moonsand keys create` on a full Redis ends with one line, and no key."""
    with full(redis_url):
        done = moonsand(
            "keys", "create", "--tenant", "acme", env=environment(tmp_path, REDIS_URL=redis_url)
        )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "moonsand: the key store cannot be reached; try again\n"
    assert not redis_sync.exists(keys.KEYS)
