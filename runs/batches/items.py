"""
How items are stored: chunks of many, compressed, in a stream whose ids are the items' numbers.

The chunk with item `i` (from 0) is the last one whose id is not greater than `<i + 1>-0`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys
from runs.batches.model import Item
from sandbox.limits import KIB

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: A chunk is closed with the item that reaches one of these.
CHUNK_ITEMS = 200
CHUNK_BYTES = 256 * KIB
_COMPRESSION = 1
NO_ITEMS = hashlib.sha256(b"moonsand batch").hexdigest()


@dataclass(frozen=True, slots=True)
class Stored:
    """An item as it is stored: its script is told by its digest."""

    id: str | None
    input: bytes
    script_sha256: str | None
    limits: dict[str, int] | None
    seed: int | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items that follow one another; `first` is the index of the first."""

    first: int
    items: Sequence[Stored]

    @property
    def end(self) -> int:
        """Give the index after the last."""
        return self.first + len(self.items)


def pack_item(item: Item) -> bytes:
    """Give the JSON text of an item as it is stored."""
    digest = None if item.script is None else hashlib.sha256(item.script).hexdigest()
    more = {"limits": item.limits, "seed": item.seed, "name": item.name}
    given = {name: value for name, value in more.items() if value is not None}
    return orjson.dumps([item.id, item.input.decode(), digest, given or None])


def chained(chain: str, packed: bytes) -> str:
    """Give the digest of all items so far, the last being `packed`."""
    return hashlib.sha256(bytes.fromhex(chain) + packed).hexdigest()


def pack_chunk(packed: Sequence[bytes]) -> bytes:
    """Give the bytes of a chunk."""
    return zlib.compress(b"[" + b",".join(packed) + b"]", _COMPRESSION)


def unpack_chunk(first: int, data: bytes) -> Chunk:
    """Read a chunk that `pack_chunk` wrote."""
    rows: list[list[Any]] = orjson.loads(zlib.decompress(data))
    return Chunk(first, [_unpack(row) for row in rows])


async def chunk_with(redis: Redis, batch_id: str, index: int) -> Chunk | None:
    """
    Give the chunk that has the item `index`; None when there is none such.

    Raises:
        RedisError: Redis does not answer.
    """
    found = await cast(
        "Awaitable[Any]",
        redis.xrevrange(keys.batch_items(batch_id), max=f"{index + 1}-0", min="-", count=1),
    )
    if not found:
        return None
    entry, fields = found[0]
    chunk = unpack_chunk(int(entry.partition(b"-")[0]) - 1, fields[b"items"])
    return chunk if index < chunk.end else None


def _unpack(row: list[Any]) -> Stored:
    own_id, text, digest, more = row
    given = more or {}
    return Stored(
        id=own_id,
        input=text.encode(),
        script_sha256=digest,
        limits=given.get("limits"),
        seed=given.get("seed"),
        name=given.get("name"),
    )
