"""The executing half of a worker, with a stand-in for the sandbox that gives what none may give."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import redis
import redis.asyncio

from core.clock import now_ms
from integrations.accounts import AccountsFile
from integrations.broker import Broker
from integrations.throttle import MemoryThrottle
from integrations.vendor_http import VendorHttp
from runs.model import State
from runs.store import RunStore
from sandbox.calls import StartRequest
from sandbox.outcome import Fault, Outcome, Reason, Usage
from sandbox.supervisor import Sandbox
from tests.integration.run_watching import ended, nothing_held, submit
from tests.shipped import CATALOG
from worker.claim import Claimer
from worker.engine import Engine, Parts
from worker.plan import WorkerPlan
from worker.slots import Room

FAULTS = [
    Fault("a line that no script has", line=10**30),
    Fault("half a pair: \ud800"),
]


class Careless:
    """A sandbox that passes a child's words on unread, in the first run."""

    def __init__(self, fault: Fault) -> None:
        self._faults = [fault]

    async def run(self, _request: StartRequest, *_: object) -> Outcome:
        """End at once."""
        if self._faults:
            return Outcome(Reason.SCRIPT_ERROR, Usage(), error=self._faults.pop())
        return Outcome(Reason.OK, Usage(), b"1")


def parts_with(fault: Fault) -> Callable[[], Awaitable[Parts]]:
    """Give what makes the engine's parts."""

    async def make() -> Parts:
        http = VendorHttp(allow_local=True)
        broker = Broker(CATALOG, http, now_ms, MemoryThrottle())
        return Parts(cast(Sandbox, Careless(fault)), broker, AccountsFile({}), http.close)

    return make


@pytest.mark.parametrize("fault", FAULTS, ids=["number", "text"])
async def test_an_end_that_cannot_be_written_ends_its_run_and_no_other(
    redis_url: str, redis_sync: redis.Redis, redis_async: redis.asyncio.Redis, fault: Fault
) -> None:
    """Whatever got past the supervisor, that run is our fault, and the worker goes on."""
    store, plan, room = RunStore(redis_async), WorkerPlan("w", 2), Room(2)
    make: Any = parts_with(fault)
    engine = Engine(plan, redis_url, room, make, lambda _: None)
    ids = [await submit(store) for _ in range(2)]
    await asyncio.to_thread(engine.start)
    try:
        claims = Claimer(redis_sync, plan).claim(2)
        assert claims is not None
        room.take(len(claims))
        engine.execute(claims)
        records = [await ended(store, run_id) for run_id in ids]
        assert await asyncio.to_thread(room.wait_until_empty, 10)
        assert engine.alive
    finally:
        await asyncio.to_thread(engine.close)

    assert sorted((one.status, one.reason) for one in records) == [
        (State.FAILED, Reason.INTERNAL),
        (State.SUCCEEDED, Reason.OK),
    ]
    assert nothing_held(redis_sync)
