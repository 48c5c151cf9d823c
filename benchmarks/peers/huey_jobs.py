"""huey's no-op. `python huey_jobs.py N` enqueues."""

from __future__ import annotations

import os
import sys

from huey import RedisHuey

huey = RedisHuey("peer", url=os.environ["REDIS_URL"])


@huey.task()
def no_op(given: int) -> int:
    """Do nothing."""
    return given


if __name__ == "__main__":
    # The names of tasks have their module's, which is not `__main__` for the consumer.
    from huey_jobs import no_op as named

    for number in range(int(sys.argv[1])):
        named(number)
