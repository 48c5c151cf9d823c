"""After a restart of Redis: nobody claims at once, and workers say what they had written."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio

from core import keys
from ledger.redis_tape import RedisTape
from ledger.tape import Kind
from runs.store import RunStore
from tests.integration.run_watching import submit, take_and_vanish
from tests.worker_processes import LEASE_S
from worker.claim import Claimer
from worker.plan import WorkerPlan
from worker.witness import Witness

WRITE = {"effect_class": "write"}


class Restarting:
    """A client of a Redis that seems to be another server each time it is asked."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._asked = 0

    async def info(self, section: str) -> dict[str, str]:
        """Give a new run id."""
        self._asked += 1
        return {"run_id": f"{section}{self._asked}"}

    def __getattr__(self, name: str) -> Any:
        """Leave all else to the client."""
        return getattr(self._client, name)


async def test_nobody_claims_right_after_a_restart(
    store: RunStore, redis_sync: redis.Redis
) -> None:
    """The first claim at a restarted server takes nothing and leaves the queue its turn."""
    await submit(store)
    redis_sync.set(keys.EPOCH, "the server before")
    claimer = Claimer(redis_sync, WorkerPlan("w", 1, lease_s=LEASE_S))

    assert claimer.claim(1) == []
    assert 0 < redis_sync.ttl(keys.HOLD) <= 5
    assert redis_sync.zcard(keys.RING) == 1

    redis_sync.delete(keys.HOLD)
    claims = claimer.claim(1)
    assert claims is not None
    assert [one.tape_lost for one in claims] == [False]


async def test_a_run_that_lacks_an_intent_is_marked_and_no_other(
    store: RunStore, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """What a worker remembers and a restarted Redis has not: that run is not executed again."""
    restarting: Any = Restarting(redis_async)
    witness = Witness(restarting)
    ids = [await submit(store) for _ in range(2)]
    for run_id in ids:
        take_and_vanish(redis_sync)
        tape = RedisTape(redis_async, run_id, 3)
        witness.note(run_id, await tape.append(Kind.INTENT, WRITE))
    await witness.look()
    redis_sync.xdel(keys.tape(ids[1]), "3-0")

    await witness.look()

    assert [redis_sync.hexists(keys.run(one), "tape_lost") for one in ids] == [False, True]
