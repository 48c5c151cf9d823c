"""What the tests of workers ask of runs."""

from __future__ import annotations

from typing import Any

import redis
from rq.job import Job

from core import keys
from runs.model import RunRecord, RunRequest, State
from runs.store import RunStore
from tests.deadline import Deadline
from tests.worker_processes import LEASE_S
from worker.claim import Claim, Claimer
from worker.plan import WorkerPlan

TENANT = "acme"
QUEUE = keys.queue(TENANT)
#: A lost worker's run has ended after this: its lease, a look around, slack for a busy machine.
LOST_S = LEASE_S + LEASE_S / 6 + 15
SHORT = RunRequest(script="return 1")
ENDLESS = RunRequest(
    script="while true do end", limits={"instructions": 2_000_000_000, "cpu_ms": 60_000}
)
CALLING = RunRequest(
    script='return app.integrations.mux.create_asset{input = {{url = "https://example.com/a.mp4"}}}'
)


async def submit(store: RunStore, request: RunRequest = SHORT, tenant: str = TENANT) -> str:
    """Submit a run and give its id."""
    return (await store.submit(tenant, request, key_id="key")).id


async def in_state(store: RunStore, run_id: str, *states: State, seconds: float = 30) -> RunRecord:
    """Wait until a run is in one of `states`."""

    async def look() -> RunRecord | None:
        record = await store.get(TENANT, run_id)
        return record if record.status in states else None

    found = await Deadline().reached(look, f"one of {states}", seconds=seconds)
    assert found is not None
    return found


async def ended(store: RunStore, run_id: str, seconds: float = 30) -> RunRecord:
    """Wait until a run has ended."""
    terminal = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
    return await in_state(store, run_id, *terminal, seconds=seconds)


async def attempt_of(store: RunStore, run_id: str, attempt: int, seconds: float = 30) -> RunRecord:
    """Wait until a run is executed for the `attempt`th time."""

    async def look() -> RunRecord | None:
        record = await store.get(TENANT, run_id)
        return record if record.attempt >= attempt else None

    found = await Deadline().reached(look, f"attempt {attempt}", seconds=seconds)
    assert found is not None
    return found


def failure_text(job: Job) -> str | None:
    """Give what RQ kept of a job's failure."""
    result = job.latest_result()
    return result.exc_string if result else None


def tape(client: redis.Redis, run_id: str) -> list[str]:
    """Give the kinds on a run's tape; their numbers must be 1, 2, 3..."""
    rows: Any = client.xrange(keys.tape(run_id))
    assert [row_id.decode() for row_id, _ in rows] == [f"{n + 1}-0" for n in range(len(rows))]
    return [fields[b"kind"].decode() for _, fields in rows]


def nothing_held(client: redis.Redis) -> bool:
    """Tell whether no trace of a job in hand is left."""
    left = [*client.keys("rq:execution*"), *client.keys("rq:wip:*"), *client.keys("ms:leases")]
    left += [key for key in client.keys("rq:worker:*:executions") if client.scard(key)]
    return not left


def take_and_vanish(client: redis.Redis) -> Claim:
    """Claim one run as a worker would that dies right after."""
    claims = Claimer(client, WorkerPlan("vanished", 1, lease_s=LEASE_S)).claim(1)
    assert claims is not None
    assert claims[0].spec is not None
    return claims[0]


def picture(client: redis.Redis, run_id: str) -> dict[str, object]:
    """Give all that Redis holds of one run, dead worker's traces included."""
    return {
        "tape": client.xrange(keys.tape(run_id)),
        "run": client.hgetall(keys.run(run_id)),
        "events": client.xrange(keys.events(run_id)),
        "job": client.hgetall(f"rq:job:{run_id}"),
        "results": client.xrange(f"rq:results:{run_id}"),
        "wip": client.zrange(f"rq:wip:{QUEUE}", 0, -1),
        "leases": client.zrange(keys.LEASES, 0, -1),
    }
