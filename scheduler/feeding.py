"""
The duties of feeding batches: one hears which batches want something, the other gives it to them.

A batch is called when it is sealed, cancelled, or has room for more; and now and then without a
call, so that one whose call was lost with its scheduler goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import structlog
from redis.exceptions import RedisError

from core import keys
from core.clock import Clock, now_ms
from core.errors import Unavailable
from runs.batches.feeding import Fed, Feeder
from runs.redis_scripts import Arg, load

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from runs.acceptance import Terms

_LISTEN_S = 5.0
_CALLS = 64
#: A batch is looked at without a call once in this time.
_ROUND_MS = 5_000
_LOOK_EVERY_S = 1.0
_DUE = 256
#: Seconds after which a batch none of whose runs ends is searched for runs that are gone.
_STILL_S = 60.0
#: Ends are waited for before more is fed: for an eighth of the runs under way, at a run in a
#: millisecond, but never for longer than this.
_GATHER_S = 0.05
#: Seconds after which a batch is tried again with which something is wrong.
_FAULT_S = 30.0
_log = structlog.get_logger(__name__)


class Calls:
    """Hears batches call, and tells the feeding."""

    name = "batch-calls"

    def __init__(self, redis: Redis, feeding: Feeding) -> None:
        self._redis = redis
        self._feeding = feeding

    async def turn(self) -> float:
        """Wait for calls, and pass on those that came."""
        first = await cast(
            "Awaitable[tuple[bytes, bytes] | None]",
            self._redis.blpop([keys.BATCH_WAKE], timeout=_LISTEN_S),
        )
        if first is not None:
            more = await cast(
                "Awaitable[list[bytes] | None]", self._redis.lpop(keys.BATCH_WAKE, _CALLS)
            )
            self._feeding.call([first[1], *(more or [])])
        return 0.0


class Feeding:
    """Feeds the batches that called, each when its time has come."""

    name = "batch-feeding"

    def __init__(self, redis: Redis, terms: Terms, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._clock = clock
        self._feeder = Feeder(redis, terms, clock)
        self._called = asyncio.Event()
        self._due: dict[str, float] = {}
        self._pause_s: dict[str, float] = {}
        self._looked = 0.0

    def call(self, ids: list[bytes]) -> None:
        """Feed these soon."""
        now = asyncio.get_running_loop().time()
        for one in ids:
            batch_id = one.decode()
            due = now + self._pause_s.get(batch_id, 0.0)
            self._due[batch_id] = min(due, self._due.get(batch_id, due))
        self._called.set()

    async def turn(self) -> float:
        """Feed all whose time has come, then wait for the next or for a call."""
        now = asyncio.get_running_loop().time()
        if now >= self._looked + _LOOK_EVERY_S:
            self._looked = now
            await self._look_around()
        ready = [one for one, due in self._due.items() if due <= now]
        for batch_id in ready:
            await self._feed(batch_id)
        if not ready:
            nearest = min([*self._due.values(), self._looked + _LOOK_EVERY_S])
            with suppress(TimeoutError):
                await asyncio.wait_for(self._called.wait(), max(0.0, nearest - now))
            self._called.clear()
        return 0.0

    async def _feed(self, batch_id: str) -> None:
        due = self._due.pop(batch_id)  # before: it may call while it is fed
        try:
            fed = await self._feeder.feed(batch_id)
        except (RedisError, OSError, Unavailable):
            self._due[batch_id] = due  # nobody can be fed; it stays due
            raise
        except Exception as error:  # noqa: BLE001 (one batch's fault must not stop the others)
            _log.exception("batch_not_fed", batch=batch_id, exc_info=error)
            fed = Fed(again_s=_FAULT_S)
        if fed.concurrency:
            self._pause_s[batch_id] = min(_GATHER_S, fed.concurrency / 8_000)
        else:
            self._pause_s.pop(batch_id, None)
        if fed.again_s is not None:
            again = asyncio.get_running_loop().time() + fed.again_s
            self._due[batch_id] = min(again, self._due.get(batch_id, again))

    async def _look_around(self) -> None:
        args: list[Arg] = [self._clock(), _ROUND_MS, _DUE]
        found: Any = await load("batch_due").run_async(self._redis, args)
        self.call(found)
        await self._feeder.find_lost([one.decode() for one in found], _STILL_S)
