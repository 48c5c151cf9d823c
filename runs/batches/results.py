"""
The results of a batch: one for each item, in the order of items, as they are at the moment.

Each says how its item stands: `pending`, it was not started yet; `skipped`, it will not be; else
the state of its run. Nothing is kept here twice: results stand in the records of the runs, and
when such a record has expired, what is left is how its run ended.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys
from runs.batches.ids import RunIds
from runs.batches.model import BatchRecord, ItemStatus, state_of_code
from runs.batches.names import Names, firsts_of, names_from
from runs.store import redis_errors
from sandbox.limits import MIB

if TYPE_CHECKING:
    from redis.asyncio import Redis

_FIELDS = ("tenant", "state", "reason", "result", "output", "error", "usage")
_LONG = ("result", "output")
_IN_A_LOOK = 100
_BYTES_AT_ONCE = 4 * MIB


@dataclass(frozen=True, slots=True)
class _Line:
    """An item whose run was, or may be, started."""

    index: int
    item: str | None
    run_id: str
    size_bytes: int


class Results:
    """Reads the results of one batch. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, record: BatchRecord) -> None:
        self._redis = redis
        self._record = record
        self._ids = RunIds(record.id, record.created_ms)

    async def lines(self, first: int = 0) -> AsyncIterator[bytes]:
        """
        Give the results from item `first` on, each a line of JSON: an `ItemResult`.

        Results may be megabytes: few are held at once, and none is parsed.

        Raises:
            Unavailable: Redis does not answer.
        """
        with redis_errors():
            firsts = await firsts_of(self._redis, self._record.id)
        for begin in firsts[max(0, bisect_right(firsts, first) - 1) :]:
            with redis_errors():
                names = await names_from(self._redis, self._record.id, begin)
            if names is None:
                return
            skipped = max(0, first - begin)
            for at in range(skipped, len(names), _IN_A_LOOK):
                async for line in self._of(begin + at, names[at : at + _IN_A_LOOK]):
                    yield line

    async def _of(self, index: int, items: Names) -> AsyncIterator[bytes]:
        with redis_errors():
            fed, ended, ends = await self._progress(index, index + len(items) - 1)
            started = [(at, item) for at, item in enumerate(items, index) if at < fed]
            lines = await self._sizes(started)
        at = 0
        while at < len(lines):
            some = _few(lines[at:])
            with redis_errors():
                rows = await self._records(some)
            for line, row in zip(some, rows, strict=True):
                place = line.index - index
                yield self._line(line, row, ends[place] if place < len(ends) else 0)
            at += len(some)
        status: ItemStatus = "skipped" if ended else "pending"
        for place in range(len(started), len(items)):
            yield _dump(index + place, items[place], None, {"status": status})

    async def _progress(self, first: int, last: int) -> tuple[int, bool, bytes]:
        """Give how many items were fed, whether the batch has ended, and bytes of ends."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hmget(keys.batch(self._record.id), ["fed", "ended_ms"])
        pipeline.getrange(keys.batch_ends(self._record.id), first, last)
        (fed, ended_ms), ends = await pipeline.execute()
        return int(fed or 0), ended_ms is not None, ends

    async def _sizes(self, started: Sequence[tuple[int, str | None]]) -> list[_Line]:
        pipeline = self._redis.pipeline(transaction=False)
        named = [(index, item, self._ids.of(index)) for index, item in started]
        for _, _, run_id in named:
            for name in _LONG:
                pipeline.hstrlen(keys.run(run_id), name)
        sizes = iter(await pipeline.execute() if named else ())
        return [
            _Line(index, item, run_id, sum(next(sizes) for _ in _LONG))
            for index, item, run_id in named
        ]

    async def _records(self, lines: Sequence[_Line]) -> list[list[bytes | None]]:
        pipeline = self._redis.pipeline(transaction=False)
        for line in lines:
            pipeline.hmget(keys.run(line.run_id), list(_FIELDS))
        return await cast("Awaitable[list[list[bytes | None]]]", pipeline.execute())

    def _line(self, line: _Line, row: Sequence[bytes | None], end: int) -> bytes:
        known = {name: value for name, value in zip(_FIELDS, row, strict=True) if value}
        if known.get("tenant") == self._record.tenant.encode() and "state" in known:
            return _dump(line.index, line.item, line.run_id, _shown(known))
        ended = state_of_code(end)
        if ended is None:  # it was deleted before it ended; that is found out in a while
            return _dump(line.index, line.item, line.run_id, {"status": "queued", "kept": False})
        state, reason = ended
        gone = {"status": state.value, "reason": reason.value, "kept": False}
        return _dump(line.index, line.item, line.run_id, gone)


def _few(lines: Sequence[_Line]) -> Sequence[_Line]:
    size_bytes = 0
    for count, line in enumerate(lines):
        size_bytes += line.size_bytes
        if count and size_bytes > _BYTES_AT_ONCE:
            return lines[:count]
    return lines


def _shown(known: dict[str, bytes]) -> dict[str, Any]:
    shown: dict[str, Any] = {"status": known["state"].decode()}
    if "reason" in known:
        shown["reason"] = known["reason"].decode()
    for name in ("result", "error", "usage"):
        if name in known:
            shown[name] = orjson.Fragment(known[name])
    if "output" in known:
        shown["output"] = known["output"].decode()
    return shown


def _dump(index: int, item: str | None, run_id: str | None, shown: dict[str, Any]) -> bytes:
    return orjson.dumps({"index": index, "id": item, "run": run_id, **shown}) + b"\n"
