"""dramatiq's no-op. `python dramatiq_jobs.py N` enqueues."""

from __future__ import annotations

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = os.environ["REDIS_URL"]
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL, namespace="peer-result")))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def no_op(given: int) -> int:
    """Do nothing."""
    return given


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        no_op.send(number)
