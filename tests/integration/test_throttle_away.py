"""Redis cannot count a request that is about to go: it is waited for, then the attempt ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import pytest
import redis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from integrations.pack_wire import Rate
from integrations.throttle import Gate
from ledger.redis_tape import scan_tape
from ledger.tape import Entry, Kind
from runs.model import RunRequest
from runs.redis_scripts import load
from runs.redis_throttle import RedisThrottle
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.integration.run_watching import LOST_S, TENANT, ended, submit
from tests.worker_processes import running_worker

pytestmark = pytest.mark.anyio
GATE = Gate(
    "acme/till/default", None, Rate(per_s=0.001, burst=2), 1, "a", 30, "acme", "run_1", "till"
)


class Away:
    """A connection that breaks some times: before it asks, or when it is to be answered."""

    def __init__(self, client: Redis, times: int, *, asked: bool) -> None:
        self._client, self.times, self._asked = client, times, asked

    async def evalsha(self, *args: Any) -> Any:
        """Ask, unless it breaks."""
        if self.times and self._asked:
            await self._ask(*args)
        if self.times:
            self.times -= 1
            raise RedisConnectionError("Connection closed by server")
        return await self._ask(*args)

    async def _ask(self, sha: str, *args: Any) -> Any:
        script: Any = await cast("Any", self._client.script_exists(sha))
        if not script[0]:
            await self._client.script_load(load("throttle").text)
        return await cast("Any", self._client.evalsha(sha, *args))


async def test_a_redis_that_is_away_for_a_moment_is_waited_for(redis_async: Redis) -> None:
    """The request goes as soon as it is counted; the script hears nothing of it."""
    away = Away(redis_async, 3, asked=False)
    assert await RedisThrottle(cast("Any", away)).enter(GATE) == 0
    assert away.times == 0


async def test_what_was_counted_without_an_answer_is_never_counted_too_little(
    redis_async: Redis,
) -> None:
    """Asked again it has its own place, and its rate was used twice: the next one has to wait."""
    away = Away(redis_async, 1, asked=True)
    assert await RedisThrottle(cast("Any", away)).enter(GATE) == 0
    assert await RedisThrottle(redis_async).enter(GATE) > 0


@contextmanager
def nothing_can_be_counted(client: redis.Redis) -> Iterator[None]:
    """Keep a value of the wrong type where requests are counted."""
    client.hset(f"ms:terms:{TENANT}", "calls_per_minute.till", "1000")
    client.set(f"ms:quota:{TENANT}", "no hash")
    yield
    client.delete(f"ms:quota:{TENANT}")


async def left_alone(redis_async: Redis, run_id: str) -> Entry:
    """Wait until a tape tells that a call was begun and left."""

    async def look() -> Entry | None:
        tape = [entry async for entry in scan_tape(redis_async, run_id)]
        left = [one for one in tape if one.kind is Kind.EFFECT and one.body.get("abandoned")]
        return left[0] if left else None

    found = await Deadline().reached(look, "a call that was left", seconds=LOST_S + 3)
    assert found is not None
    return found


async def test_a_request_that_cannot_be_counted_costs_an_attempt_and_not_the_run(
    store: RunStore,
    redis_sync: redis.Redis,
    redis_async: Redis,
    redis_url: str,
    vendor: CountingVendor,
) -> None:
    """It was not sent, and the tape says so: even a write without a key is made when it can be."""
    with running_worker(redis_url, slots=1, **vendor.settings):
        with nothing_can_be_counted(redis_sync):
            request = RunRequest(script='return app.integrations.till.pay({ tag = "n" }).value')
            run_id = await submit(store, request)
            left = await left_alone(redis_async, run_id)
        record = await ended(store, run_id, seconds=LOST_S)

    assert left.body["effect"] == "failed"
    assert (record.reason, record.result) == (Reason.OK, 1)
    assert [one.effect for one in record.calls] == ["succeeded"]
    assert record.attempt > 1
    assert vendor.asked["n"] == 1


async def test_one_that_an_earlier_attempt_had_sent_stays_in_doubt(
    store: RunStore,
    redis_sync: redis.Redis,
    redis_async: Redis,
    redis_url: str,
    vendor: CountingVendor,
) -> None:
    """What was done and not answered is unknown until its key has asked for it again."""
    request = RunRequest(script='return app.integrations.till.pay_once({ tag = "d" }).value')
    with running_worker(redis_url, slots=1, **vendor.settings) as doomed:
        vendor.arm(Hold.AFTER)
        run_id = await submit(store, request)
        Deadline().until(vendor.struck.is_set, "the request")
        doomed.kill()
    vendor.release()
    with ExitStack() as hindered:
        hindered.enter_context(nothing_can_be_counted(redis_sync))  # before it is claimed again
        with running_worker(redis_url, slots=1, **vendor.settings):
            left = await left_alone(redis_async, run_id)
            hindered.close()
            record = await ended(store, run_id, seconds=LOST_S)

    assert left.body["effect"] == "unknown"
    assert (record.reason, record.result, record.attempt) == (Reason.OK, 1, 3)
    assert (vendor.done["d"], len(set(vendor.keys))) == (1, 1)
