"""
The lock by which one sequencer works while others rest, and all while somebody else writes.

Runs in: sequencer; CLI, where the archive is. Trusts: Redis. Refuses: nothing: the archive's epoch
is what keeps two writers apart. May import: stdlib, redis, structlog, core.

A sequencer that was outrun takes the archive over again within seconds. Its lock is taken away for
as long as the other is at work; it finds out when it renews, and begins when the lock is free.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import LockError, RedisError

from core import keys
from core.redis_room import RoomLock

if TYPE_CHECKING:
    from redis import Redis

#: Seconds for which it is held unless it is renewed: whoever had it is gone.
LOCK_S = 10.0


def ledger_lock(redis: Redis) -> RoomLock:
    """Give the lock, not taken; it may be renewed and let go from any thread."""
    return RoomLock(redis, keys.LEDGER_LOCK, timeout=LOCK_S, thread_local=False)


@contextmanager
def sequencers_at_rest(redis: Redis) -> Iterator[None]:
    """
    Let no sequencer begin.

    Raises:
        RedisError: Redis does not answer.
    """
    lock = ledger_lock(redis)
    lock.take_away()
    over = threading.Event()
    renewing = threading.Thread(target=_renew, args=(lock, over), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        with suppress(LockError, RedisError):  # taken away, or it ends by itself
            lock.release()


def _renew(lock: RoomLock, over: threading.Event) -> None:
    while not over.wait(LOCK_S / 3):
        try:
            lock.reacquire()
        except (LockError, RedisError) as error:
            log = structlog.get_logger(__name__)
            log.warning("sequencers_not_at_rest", error=type(error).__name__)
