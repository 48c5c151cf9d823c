"""
The tape of one run in Redis: a stream whose ids are the sequence numbers.

Runs in: worker. Trusts: Redis. Refuses: to write after anything went wrong once.
May import: core, redis.

Redis takes an id only if it is greater than the last, so of two writers that both hold number n
one is refused. The entry is as durable on return as Redis makes it: with `appendfsync everysec`
a power cut may take the last second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from redis.exceptions import RedisError, ResponseError

from core import keys
from core.clock import Clock, now_ms
from ledger.tape import Entry, Kind, TapeError, TapeFenced

if TYPE_CHECKING:
    from redis.asyncio import Redis


class RedisTape:
    """
    The writing end of a run's tape; it belongs to the one task that executes the run.

    `next_seq` is the number of the first entry to be written, from 1. The connection must not
    send a command twice by itself: a repeat would look like another writer.
    """

    def __init__(self, redis: Redis, run_id: str, next_seq: int, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._key = keys.tape(run_id)
        self._next_seq = next_seq
        self._clock = clock
        self._failed = False

    async def append(self, kind: Kind, body: Mapping[str, Any]) -> Entry:
        """
        Write the next entry; Redis has confirmed it on return.

        Raises:
            TapeFenced: another writer has taken this number.
            TapeError: Redis did not confirm. It may have written the entry all the same, so that
                this tape takes no more.
        """
        if self._failed:
            raise TapeError("an earlier entry was not confirmed; this tape takes no more")
        entry = Entry(self._next_seq, kind, self._clock(), body)
        self._failed = True  # until confirmed: also when this task is cancelled on the way
        await self._write(entry)
        self._failed = False
        self._next_seq += 1
        return entry

    async def _write(self, entry: Entry) -> None:
        try:
            written = await self._redis.xadd(
                self._key,
                {"kind": entry.kind.value, "at_ms": entry.at_ms, "body": _encode(entry.body)},
                id=f"{entry.seq}-0",
                nomkstream=True,
            )
        except ResponseError as refused:
            if "equal or smaller" in str(refused):
                raise TapeFenced(f"entry {entry.seq} was written by somebody else") from refused
            raise TapeError(f"Redis refused entry {entry.seq}") from refused
        except (RedisError, OSError) as lost:
            raise TapeError(f"Redis did not confirm entry {entry.seq}") from lost
        if written is None:
            raise TapeError(f"the tape that entry {entry.seq} belongs to is gone")


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
