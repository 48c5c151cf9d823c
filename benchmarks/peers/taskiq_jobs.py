"""taskiq's no-op. `python taskiq_jobs.py N` enqueues."""

from __future__ import annotations

import asyncio
import os
import sys

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

URL = os.environ["REDIS_URL"]
broker = RedisStreamBroker(URL).with_result_backend(
    RedisAsyncResultBackend(URL, prefix_str="peer-result")
)


@broker.task(task_name="no_op")
async def no_op(given: int) -> int:
    """Do nothing."""
    return given


async def _enqueue(count: int) -> None:
    await broker.startup()
    for number in range(count):
        await no_op.kiq(number)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(_enqueue(int(sys.argv[1])))
