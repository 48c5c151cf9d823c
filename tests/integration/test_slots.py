"""Many runs side by side in one worker process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from core import keys
from runs.model import RunRequest, State
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor
from tests.integration.run_watching import SHORT, TENANT, ended, nothing_held, submit
from tests.worker_processes import running_worker

SLOTS = 200


class Meeting(CountingVendor):
    """A vendor that answers nobody before it was told to."""

    def __init__(self, directory: Path, tenant: str) -> None:
        super().__init__(directory, tenant)
        self._server.socket.listen(2 * SLOTS)
        self._over = threading.Event()
        self._count = threading.Lock()
        self.there = 0

    def handle(self, tag: str, key: str | None, *, write: bool) -> dict[str, Any] | None:
        """Wait for the end."""
        with self._count:
            self.there += 1
        self._over.wait(60)
        return super().handle(tag, key, write=write)

    def end(self) -> None:
        """Answer everybody."""
        self._over.set()


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[Meeting]:
    """A vendor at which runs meet."""
    with Meeting(tmp_path, TENANT) as vendor:
        yield vendor
        vendor.end()


async def test_two_hundred_runs_of_one_tenant_wait_side_by_side(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, meeting: Meeting
) -> None:
    """All are at their vendor at the same moment, and another tenant's run still finds a slot."""
    requests = [
        RunRequest(
            script="return app.integrations.till.price({ tag = input }).tag", input=f"n{number}"
        )
        for number in range(SLOTS)
    ]
    with running_worker(redis_url, slots=SLOTS, lease_s=60, **meeting.settings):
        runs = [await submit(store, one) for one in requests]
        late = await submit(store)
        Deadline().until(lambda: meeting.there == SLOTS, "all at the vendor", seconds=50)

        other = await submit(store, SHORT, "other")
        Deadline().until(
            lambda: redis_sync.hget(keys.run(other), "state") == b"succeeded", "the other's run"
        )
        assert (await store.get(TENANT, late)).status is State.QUEUED
        meeting.end()

        for number, run_id in enumerate(runs):
            record = await ended(store, run_id, seconds=60)
            assert (record.reason, record.result) == (Reason.OK, f"n{number}")
        assert (await ended(store, late)).reason is Reason.OK
        Deadline().until(lambda: nothing_held(redis_sync), "the end of all leases")
