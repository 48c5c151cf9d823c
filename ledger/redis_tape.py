"""
The tape of one run in Redis: a stream whose ids are the sequence numbers.

Runs in: worker. Trusts: Redis. Refuses: to write after anything went wrong once.
May import: core, redis.

Redis takes an id only if it is greater than the last, so of two writers that both hold number n
one is refused. The entry is as durable on return as Redis makes it: with `appendfsync everysec`
a power cut may take the last second. An intent, before which nothing may be sent, can besides wait
for replicas. A Redis that has lost the end of a tape is noticed by the next entry: numbers have no
gaps, so the stream must be as long as its last number.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from core import keys
from core.clock import Clock, now_ms
from core.redis_client import takes_no_writes
from ledger.tape import Entry, Kind, TapeError, TapeFenced, TapeFull, TapeLost

if TYPE_CHECKING:
    from redis.asyncio import Redis


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas must have an intent before anything is sent, and how long that may take."""

    count: int = 0
    within_ms: int = 1_000


NO_REPLICAS = Replicas()

#: Writes an entry also when Redis is full, as in core.redis_room. ARGV id kind at_ms body
_APPEND_TO_FULL = f"""
redis.call('DEL', '{keys.NOTHING}')
local written = redis.call('XADD', KEYS[1], 'NOMKSTREAM', ARGV[1], 'kind', ARGV[2],
  'at_ms', ARGV[3], 'body', ARGV[4])
return {{ written, redis.call('XLEN', KEYS[1]) }}
"""


class RedisTape:
    """
    The writing end of a run's tape; it belongs to the one task that executes the run.

    `next_seq` is the number of the first entry to be written, from 1. The connection must not
    send a command twice by itself: a repeat would look like another writer. `on_written` is told of
    each entry that is confirmed.
    """

    def __init__(  # noqa: PLR0913 (the parts of one tape, each once)
        self,
        redis: Redis,
        run_id: str,
        next_seq: int,
        clock: Clock = now_ms,
        *,
        replicas: Replicas = NO_REPLICAS,
        on_written: Callable[[Entry], None] | None = None,
    ) -> None:
        self._redis = redis
        self._on_written = on_written
        self._replicas = replicas
        self._key = keys.tape(run_id)
        self._next_seq = next_seq
        self._clock = clock
        self._failed = False

    async def append(self, kind: Kind, body: Mapping[str, Any]) -> Entry:
        """
        Write the next entry; Redis has confirmed it on return.

        Raises:
            TapeFenced: another writer has taken this number.
            TapeLost: Redis no longer has entries that it had confirmed.
            TapeFull: Redis takes no entry now, and has written nothing.
            TapeError: Redis did not confirm, or too few replicas. It may have written the entry all
                the same, so that this tape takes no more.
        """
        if self._failed:
            raise TapeError("an earlier entry was not confirmed; this tape takes no more")
        entry = Entry(self._next_seq, kind, self._clock(), body)
        self._failed = True  # until confirmed: also when this task is cancelled on the way
        try:
            await self._write(entry)
        except TapeFull:
            self._failed = False  # what is in flight can still be written down
            raise
        self._failed = False
        self._next_seq += 1
        if self._on_written is not None:
            self._on_written(entry)
        return entry

    async def _write(self, entry: Entry) -> None:
        fields: Any = {"kind": entry.kind.value, "at_ms": entry.at_ms, "body": _encode(entry.body)}
        wait = self._replicas if entry.kind is Kind.INTENT else NO_REPLICAS
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xadd(self._key, fields, id=f"{entry.seq}-0", nomkstream=True)
        pipeline.xlen(self._key)
        if wait.count:
            pipeline.execute_command("WAIT", wait.count, wait.within_ms)
        try:
            written, length, *reached = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as lost:
            raise TapeError(f"Redis did not confirm entry {entry.seq}") from lost
        if entry.kind is Kind.EFFECT and isinstance(written, OutOfMemoryError):
            # What has happened is written down: without it the call would be made again, or its
            # effect be unknown. The number of runs in hand bounds how much that can be.
            written, length = await self._write_to_full(entry.seq, fields)
        _check_written(entry.seq, written)
        if length != entry.seq:
            raise TapeLost(f"the tape has {length} entries and should have {entry.seq}")
        if wait.count and (not isinstance(reached[0], int) or reached[0] < wait.count):
            raise TapeError(f"entry {entry.seq} did not reach {wait.count} replicas in time")

    async def _write_to_full(self, seq: int, fields: Mapping[str, Any]) -> tuple[Any, int]:
        values = (f"{seq}-0", *fields.values())
        run: Any = self._redis.eval
        try:
            written, length = await run(_APPEND_TO_FULL, 1, self._key, *values)
        except ResponseError as refused:
            return refused, seq
        except (RedisError, OSError) as lost:
            raise TapeError(f"Redis did not confirm entry {seq}") from lost
        return written, length


def _check_written(seq: int, written: Any) -> None:
    if isinstance(written, ResponseError) and "equal or smaller" in str(written):
        raise TapeFenced(f"entry {seq} was written by somebody else") from written
    if takes_no_writes(written):
        raise TapeFull(f"Redis takes no entry now, so not {seq} either") from written
    if isinstance(written, Exception):
        raise TapeError(f"Redis refused entry {seq}") from written
    if written is None:
        raise TapeLost(f"the tape that entry {seq} belongs to is gone")


async def scan_tape(redis: Redis, run_id: str, batch: int = 16) -> AsyncIterator[Entry]:
    """
    Give a run's tape entry by entry, from the first; nothing if there is none.

    At most `batch` entries are in memory at once: one may hold a reply of many megabytes.

    Raises:
        RedisError: Redis does not answer.
    """
    start = "-"
    while True:
        rows: Any = await redis.xrange(keys.tape(run_id), start, "+", count=batch)
        for row_id, fields in rows:
            yield _decode(row_id, fields)
        if len(rows) < batch:
            return
        start = f"({rows[-1][0].decode()}"


def _encode(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps(dict(body))


def _decode(row_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    return Entry(
        seq=int(row_id.partition(b"-")[0]),
        kind=Kind(fields[b"kind"].decode()),
        at_ms=int(fields[b"at_ms"]),
        body=orjson.loads(fields[b"body"]),
    )
