"""One contract for both throttles: in this process, and in Redis for all workers together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from core.redis_client import connect_async
from integrations.pack_wire import Rate
from integrations.throttle import Gate, MemoryThrottle, Throttle, ThrottleUnavailable
from runs.redis_throttle import RedisThrottle
from tests.redis_backends import BACKENDS, opened


class Bench(NamedTuple):
    """A throttle, empty, and its clock: what lets so many seconds pass on it."""

    throttle: Throttle
    passed: Callable[[float], Awaitable[object]]


@pytest.fixture(params=["memory", *BACKENDS])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """Each kind of throttle with its clock: one of ours, or what is kept in Redis."""
    if request.param == "memory":
        clock = FakeClock()
        yield Bench(MemoryThrottle(clock.now), clock.passed)
        return
    async with opened(request.param, request) as client:

        async def passed(seconds: float) -> None:
            # What is kept is moved into the past.
            by_us = math.ceil(seconds * 1e6)
            for key in await client.keys("ms:rate:*"):
                await client.decrby(key, by_us)
            for key in await client.keys("ms:places:*"):
                leases: Any = await client.zrange(key, 0, -1)
                for lease in leases:
                    await client.zincrby(key, -by_us, lease)

        yield Bench(RedisThrottle(client), passed)


class FakeClock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self._now = 1_000.0

    def now(self) -> float:
        return self._now

    async def passed(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture
def throttle(bench: Bench) -> Throttle:
    """Each kind of throttle, empty."""
    return bench.throttle


def gate(
    lease: str = "a",
    *,
    account: str = "acme/mux/default",
    rate: Rate | None = None,
    places: int | None = None,
    lease_s: float = 30,
) -> Gate:
    """Make a gate."""
    return Gate(account, "video", rate, places, lease, lease_s)


async def test_a_burst_goes_and_then_the_rate_holds(throttle: Throttle) -> None:
    """Five at once, and the sixth waits for about a fifth of what five take."""
    rate = Rate(per_s=0.001, burst=5)
    waits = [await throttle.enter(gate(str(n), rate=rate)) for n in range(6)]
    assert waits[:5] == [0] * 5
    assert 500 < waits[5] <= 1000


async def test_who_waits_as_told_gets_through(bench: Bench) -> None:
    """The wait that is given is enough."""
    rate = Rate(per_s=0.01)
    assert await bench.throttle.enter(gate("a", rate=rate)) == 0
    wait_s = await bench.throttle.enter(gate("b", rate=rate))
    assert 0 < wait_s <= 100
    await bench.passed(wait_s)
    assert await bench.throttle.enter(gate("b", rate=rate)) == 0


async def test_asking_uses_nothing_up(throttle: Throttle) -> None:
    """Who asks again and again waits no longer for it."""
    rate = Rate(per_s=0.001)
    assert await throttle.enter(gate("a", rate=rate)) == 0
    waits = [await throttle.enter(gate("b", rate=rate)) for _ in range(5)]
    assert 0 < waits[-1] <= waits[0] <= 1000


async def test_accounts_and_tenants_do_not_share(throttle: Throttle) -> None:
    """Nobody uses up another's rate."""
    rate = Rate(per_s=0.01)
    for account in ("acme/mux/default", "acme/mux/work", "other/mux/default"):
        assert await throttle.enter(gate(account=account, rate=rate)) == 0
        assert await throttle.enter(gate(account=account, rate=rate)) > 0


async def test_places_are_taken_and_given_back(throttle: Throttle) -> None:
    """Never more at once than allowed; a place that is left is free."""
    first, second, third = (gate(name, places=2) for name in "abc")
    assert await throttle.enter(first) == 0
    assert await throttle.enter(second) == 0
    assert await throttle.enter(third) > 0
    await throttle.leave(first)
    assert await throttle.enter(third) == 0
    assert await throttle.enter(first) > 0


async def test_no_place_uses_no_rate(throttle: Throttle) -> None:
    """A request that finds no place leaves the bucket as it was."""
    rate = Rate(per_s=0.001, burst=2)
    assert await throttle.enter(gate("a", rate=rate, places=1)) == 0
    for _ in range(5):
        assert await throttle.enter(gate("b", rate=rate, places=1)) > 0
    await throttle.leave(gate("a", places=1))
    assert await throttle.enter(gate("b", rate=rate, places=1)) == 0


async def test_a_place_ends_with_its_lease(bench: Bench) -> None:
    """A worker that died holds nothing for ever."""
    throttle = bench.throttle
    assert await throttle.enter(gate("dead", places=1, lease_s=30)) == 0
    await bench.passed(30)
    assert await throttle.enter(gate("b", places=1)) == 0


async def test_many_at_once_are_counted_exactly(throttle: Throttle) -> None:
    """However many ask in the same moment, exactly the burst goes."""
    rate = Rate(per_s=0.001, burst=7)
    waits = await asyncio.gather(*(throttle.enter(gate(str(n), rate=rate)) for n in range(40)))
    assert sum(wait == 0 for wait in waits) == 7


async def test_workers_count_together(redis_url: str) -> None:
    """Two connections, as of two workers, share the buckets."""
    rate = Rate(per_s=0.1)
    async with connect_async(redis_url) as one, connect_async(redis_url) as other:
        assert await RedisThrottle(one).enter(gate("a", rate=rate)) == 0
        assert await RedisThrottle(other).enter(gate("b", rate=rate)) > 0


async def test_without_redis_nothing_goes() -> None:
    """A rate that cannot be counted is not taken for free."""
    client = connect_async("unix:///nonexistent")
    throttle = RedisThrottle(client)
    with pytest.raises(ThrottleUnavailable):
        await throttle.enter(gate("a", places=1))
    await throttle.leave(gate("a", places=1))
    await client.aclose()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_counts_in_redis_go_away_by_themselves(
    backend: str, request: pytest.FixtureRequest
) -> None:
    """However many requests go, the account's keys last a second longer than the last lease."""
    async with opened(backend, request) as client:
        throttle = RedisThrottle(client)
        for number in range(20):
            rate = Rate(per_s=4, burst=20)
            await throttle.enter(gate(str(number % 2), rate=rate, places=2, lease_s=5))

        times_left = [await client.pttl(key) for key in await client.keys("ms:*")]
        assert len(times_left) == 2
        assert all(0 < left <= 6_000 for left in times_left)
