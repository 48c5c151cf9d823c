"""Redis comes back without its last second: what was sent in it is not sent again."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from core.redis_client import connect_async
from core.redis_server import PrivateRedis
from runs.model import RunRequest
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.integration.run_watching import TENANT, ended, submit
from tests.worker_processes import running_worker

PAY = RunRequest(script='return app.integrations.till.pay({ tag = "a" }).value')


@pytest.mark.parametrize("kept", ["all", "without the intent"])
async def test_a_write_whose_intent_redis_lost_is_not_sent_again(tmp_path: Path, kept: str) -> None:
    """A worker that lives tells of it before anybody claims; one kept speaks for itself."""
    home = tmp_path / "redis"
    server = PrivateRedis(home)
    server.start()
    with CountingVendor(tmp_path, TENANT) as vendor:
        async with connect_async(server.url) as client:
            with running_worker(server.url, **vendor.settings):
                await ended(RunStore(client), await submit(RunStore(client)))
            run_id = await submit(RunStore(client), PAY)
            before = await _copy_of(client, home, tmp_path / "before")
        vendor.arm(Hold.AFTER)
        with running_worker(server.url, **vendor.settings):
            Deadline().until(vendor.struck.is_set, "the request")
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            server.stop()
            if kept != "all":
                _put_back(before, home)
            server.start()
            vendor.release()
            async with connect_async(server.url) as client:
                record = await ended(RunStore(client), run_id, seconds=40)
    server.stop()

    assert record.reason is Reason.EFFECT_UNKNOWN
    assert vendor.done["a"] == 1


async def _copy_of(client: redis.asyncio.Redis, home: Path, place: Path) -> Path:
    """Copy what is on disk, once that is all there is."""

    async def on_disk() -> bool:
        info: Any = await client.info("persistence")
        return not info["aof_pending_bio_fsync"] and not info["aof_buffer_length"]

    await Deadline().reached(on_disk, "the disk")
    shutil.copytree(home, place, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    return place


def _put_back(place: Path, home: Path) -> None:
    for old in home.rglob("*"):
        if old.is_file() and old.suffix in {".aof", ".rdb", ".manifest"}:
            old.unlink()
    shutil.copytree(place, home, dirs_exist_ok=True)
