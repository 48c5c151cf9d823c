"""A worker is killed at every boundary of a run: another goes on over its tape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from runs.store import RunStore
from sandbox.outcome import Reason
from tests.faults import lab
from tests.faults.counting_vendor import CountingVendor
from tests.faults.lab import Boundary, Strike
from tests.flaky_redis import FlakyRedis
from tests.integration.run_watching import (
    LOST_S,
    QUEUE,
    TENANT,
    ended,
    nothing_held,
    submit,
    tape,
)
from tests.worker_processes import WorkerProcess, running_worker

STRIKES = [
    *(Strike(Boundary.CLAIM, 1, happened) for happened in (False, True)),
    *(Strike(Boundary.INTENT, 2, happened) for happened in (False, True)),
    *(Strike(Boundary.REQUEST, 2, happened) for happened in (False, True)),
    *(Strike(Boundary.EFFECT, 2, happened) for happened in (False, True)),
    *(Strike(Boundary.INTENT, 4, happened) for happened in (False, True)),
    *(Strike(Boundary.REQUEST, 4, happened) for happened in (False, True)),
    *(Strike(Boundary.EFFECT, 4, happened) for happened in (False, True)),
    *(Strike(Boundary.REQUEST, 6, happened) for happened in (False, True)),
    *(Strike(Boundary.FINISH, 1, happened) for happened in (False, True)),
]
#: The fourth call has no key: once its intent is there and no effect is, nobody knows.
IN_DOUBT = [
    Strike(Boundary.INTENT, 4, happened=True),
    Strike(Boundary.REQUEST, 4, happened=False),
    Strike(Boundary.REQUEST, 4, happened=True),
    Strike(Boundary.EFFECT, 4, happened=False),
]


@dataclass(frozen=True, slots=True)
class Bench:
    """What a run needs: a wire to Redis that can be held, and a vendor that counts."""

    url: str
    wire: FlakyRedis
    vendor: CountingVendor
    store: RunStore
    redis: redis.Redis

    def worker(
        self, *, direct: bool = True, **settings: Any
    ) -> AbstractContextManager[WorkerProcess]:
        """Start a worker whose tenant has an account at the vendor."""
        url = self.url if direct else self.wire.url
        return running_worker(url, **{"slots": 1, **self.vendor.settings, **settings})


@pytest.fixture
def bench(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, tmp_path: Path
) -> Iterator[Bench]:
    """All of it, on this machine."""
    with (
        FlakyRedis(redis_url.removeprefix("unix://")) as wire,
        CountingVendor(tmp_path, TENANT) as vendor,
    ):
        yield Bench(redis_url, wire, vendor, store, redis_sync)


@pytest.mark.parametrize("strike", STRIKES, ids=str)
async def test_a_worker_killed_at_a_boundary_does_nothing_twice_and_loses_no_run(
    bench: Bench, strike: Strike
) -> None:
    """Killed before or after it happened: one result, each write at most once, or `unknown`."""
    with bench.worker(direct=False) as doomed:
        await ended(bench.store, await submit(bench.store))  # from now on Redis knows the scripts
        struck = lab.arm(strike, QUEUE, bench.wire, bench.vendor)
        run_id = await submit(bench.store, lab.request("a"))
        lab.wait_for(struck, strike)
        doomed.kill()
    bench.vendor.release()
    with bench.worker():
        record = await ended(bench.store, run_id, seconds=LOST_S)

    assert lab.problems(record, "a", bench.vendor, tape(bench.redis, run_id)) == []
    assert nothing_held(bench.redis)
    assert record.reason is (Reason.EFFECT_UNKNOWN if strike in IN_DOUBT else Reason.OK)
