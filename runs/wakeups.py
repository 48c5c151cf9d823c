"""Waking whoever waits for a run to end: one reader of one stream for a whole process."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import structlog
from redis.exceptions import RedisError

from core import keys
from core.tasks import end_tasks

if TYPE_CHECKING:
    from redis.asyncio import Redis

_BLOCK_MS = 5_000
_BATCH = 500
_PAUSE_S = 0.5
#: While nobody waits, ends are read so much later, many at once. In a batch they are most.
_REST_S = 0.25
_REMEMBERED = 10_000  # ends seen lately, for who comes to wait after the end


class Wakeups:
    """
    Tells waiters that their run has ended.

    A missed wake-up is possible (Redis away for long), so a wait always has an end of its own and
    the run's record stays the truth.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._wanted = asyncio.Event()
        self._last = "$"
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """
        Start reading from here on.

        Raises:
            RedisError: Redis does not answer.
        """
        newest: Any = await self._redis.xrevrange(keys.DONE, count=1)
        self._last = newest[0][0].decode() if newest else "0-0"
        self._reader = asyncio.create_task(self._read_forever())

    async def close(self) -> None:
        """Stop reading; whoever still waits waits to its own end."""
        if self._reader is not None:
            await end_tasks(self._reader)
            self._reader = None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.close()

    async def wait(self, run_id: str, timeout_s: float) -> bool:
        """Wait until a run has ended; tell whether it did within `timeout_s` seconds."""
        if run_id in self._ended:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(run_id, set())
        waiting.add(future)
        self._wanted.set()
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            waiting.discard(future)
            if not waiting:
                self._waiting.pop(run_id, None)
        return True

    async def _read_forever(self) -> None:
        while True:
            try:
                reply: Any = await self._redis.xread(
                    {keys.DONE: self._last}, count=_BATCH, block=_BLOCK_MS
                )
            except RedisError as error:
                structlog.get_logger(__name__).warning(
                    "wakeups_interrupted", error=type(error).__name__
                )
                await asyncio.sleep(_PAUSE_S)
                continue
            for entry_id, fields in _entries(reply):
                self._last = entry_id.decode()
                self._end(fields[b"run"].decode())
            await self._rest()

    async def _rest(self) -> None:
        if self._waiting:
            return
        self._wanted.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), _REST_S)

    def _end(self, run_id: str) -> None:
        self._ended[run_id] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        for future in self._waiting.pop(run_id, ()):
            if not future.done():
                future.set_result(None)


def _entries(reply: Any) -> list[Any]:
    # RESP3 gives a mapping of lists of entries, RESP2 a list of pairs.
    if isinstance(reply, dict):
        return [one for parts in reply.values() for part in parts for one in part]
    return [one for _, entries in reply or () for one in entries]
