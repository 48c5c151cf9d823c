"""RQ's no-op. `python rq_jobs.py N` enqueues."""

from __future__ import annotations

import os
import sys

from redis import Redis
from rq import Queue


def no_op(given: int) -> int:
    """Do nothing."""
    return given


if __name__ == "__main__":
    queue = Queue("peer", connection=Redis.from_url(os.environ["REDIS_URL"]))
    for number in range(int(sys.argv[1])):
        queue.enqueue("rq_jobs.no_op", number)
