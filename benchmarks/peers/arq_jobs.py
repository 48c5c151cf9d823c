"""arq's no-op. `python arq_jobs.py N` enqueues."""

from __future__ import annotations

import asyncio
import os
import sys

from arq import create_pool
from arq.connections import RedisSettings

ADDRESS = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def no_op(_context: object, given: int) -> int:
    """Do nothing."""
    return given


class WorkerSettings:
    """What `arq` looks for."""

    functions = (no_op,)
    redis_settings = ADDRESS


async def _enqueue(count: int) -> None:
    pool = await create_pool(ADDRESS)
    for number in range(count):
        await pool.enqueue_job("no_op", number)


if __name__ == "__main__":
    asyncio.run(_enqueue(int(sys.argv[1])))
