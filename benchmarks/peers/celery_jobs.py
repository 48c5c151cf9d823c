"""Celery's no-op. `python celery_jobs.py N` enqueues."""

from __future__ import annotations

import os
import sys

from celery import Celery

# Its own spelling of a Unix socket.
URL = os.environ["REDIS_URL"].replace("unix://", "redis+socket://")
app = Celery("peer", broker=URL, backend=URL)


@app.task
def no_op(given: int) -> int:
    """Do nothing."""
    return given


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        no_op.delay(number)
