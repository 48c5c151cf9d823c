"""
The own ids of a batch's items: kept as long as the batch, when the items themselves are gone.

They stand in a hash, many in a field, which is named by the index of the first of them.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys

if TYPE_CHECKING:
    import redis
    import redis.asyncio

Names = list[str | None]


def pack_names(names: Sequence[str | None]) -> bytes:
    """Give the bytes of a field."""
    return zlib.compress(orjson.dumps(list(names)), 1)


def unpack_names(data: bytes) -> Names:
    """Read a field that `pack_names` wrote."""
    read: Names = orjson.loads(zlib.decompress(data))
    return read


async def firsts_of(client: redis.asyncio.Redis, batch_id: str) -> list[int]:
    """Give the index of the first item of each field, in order. Raises: RedisError."""
    found = await cast("Awaitable[list[bytes]]", client.hkeys(keys.batch_names(batch_id)))
    return sorted(int(one) for one in found)


async def names_from(client: redis.asyncio.Redis, batch_id: str, first: int) -> Names | None:
    """Give the ids of a field; None when it is gone. Raises: RedisError."""
    found = await cast(
        "Awaitable[bytes | None]", client.hget(keys.batch_names(batch_id), str(first))
    )
    return None if found is None else unpack_names(found)


def forget_names(client: redis.Redis, batch_id: str, indexes: Iterable[int]) -> None:
    """Take out the own ids of some items, whose runs were erased. Raises: RedisError."""
    where = keys.batch_names(batch_id)

    def rewrite(pipeline: Any) -> None:
        firsts = sorted(int(one) for one in pipeline.hkeys(where))
        chunks: dict[int, Names] = {}
        for index in indexes:
            place = bisect_right(firsts, index) - 1
            if place < 0:
                continue
            first = firsts[place]
            if first not in chunks:
                chunks[first] = unpack_names(pipeline.hget(where, str(first)))
            if index - first < len(chunks[first]):
                chunks[first][index - first] = None
        pipeline.multi()
        for first, names in chunks.items():
            pipeline.hset(where, str(first), pack_names(names))

    client.transaction(rewrite, where)
