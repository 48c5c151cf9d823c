"""Ending queued runs that were to begin by a time that has passed, even if nobody claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from runs.endings import Ending, error_json, tape_body
from runs.redis_scripts import load
from sandbox.outcome import Fault, Reason

if TYPE_CHECKING:
    from redis.asyncio import Redis

_AT_ONCE = 100

_EXPIRED = Ending(
    Reason.EXPIRED,
    error=Fault("waited in its queue for longer than allowed and was not begun"),
)
#: Body of the tape's last entry, and error of the record, of a run that was not begun in time.
EXPIRED_ARGS = (tape_body(_EXPIRED, attempt=0), orjson.dumps(error_json(_EXPIRED)))


async def end_expired(redis: Redis) -> int:
    """
    End the queued runs whose deadline has passed; give how many deadlines had.

    Several may do so at once, while others claim.

    Raises:
        RedisError: Redis does not answer.
    """
    count = 0
    while True:
        due = int(await load("expire").run_async(redis, [_AT_ONCE, *EXPIRED_ARGS]))
        count += due
        if due < _AT_ONCE:
            return count
