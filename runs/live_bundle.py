"""
Bundles of runs that Redis still has: of those that are not in the archive yet, or sealed there.

Runs in: api. Trusts: Redis; its caller, who has looked whose run it is. Refuses: nothing; what is
gone is left out. May import: core, redis, ledger.

The salts that bind the tape's entries to their lines in the ledger are made when it is archived.
Here they are not known, so that such a bundle says of no entry by itself that it is proved.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from core import keys
from ledger.bundle import BundleEntry, end_line, head_line, text_line
from ledger.tape import Kind

if TYPE_CHECKING:
    from redis.asyncio import Redis

_BATCH = 8


async def live_lines(
    redis: Redis, run_id: str, receipt: Mapping[str, Any] | None
) -> AsyncIterator[bytes]:
    """
    Write the bundle of an ended run; at most a few entries of its tape are in memory at once.

    Raises:
        RedisError: Redis does not answer.
    """
    yield head_line(run_id, receipt)
    for name, data in await _texts(redis, run_id):
        yield text_line(name, data)
    entries, start = 0, "-"
    while True:
        rows: Any = await redis.xrange(keys.tape(run_id), start, "+", count=_BATCH)
        for row_id, fields in rows:
            entries += 1
            yield BundleEntry(
                seq=int(row_id.partition(b"-")[0]),
                kind=fields[b"kind"].decode(),
                at_ms=int(fields[b"at_ms"]),
                body=fields[b"body"],
            ).line()
        if len(rows) < _BATCH:
            break
        start = f"({rows[-1][0].decode()}"
    yield end_line(entries)


async def has_whole_tape(redis: Redis, run_id: str) -> bool:
    """Tell whether a run's tape is still there, from its acceptance to its end."""
    last: Any = await redis.xrevrange(keys.tape(run_id), count=1)
    if not last or last[0][1].get(b"kind") != Kind.FINISHED.value.encode():
        return False
    return int(last[0][0].partition(b"-")[0]) == await redis.xlen(keys.tape(run_id))


async def _texts(redis: Redis, run_id: str) -> list[tuple[str, bytes]]:
    wanted = ["script_sha256", "input", "result", "output"]
    found: Any = await redis.hmget(keys.run(run_id), wanted)
    script_sha256, input_, result, output = found
    script = await redis.get(keys.script(script_sha256.decode())) if script_sha256 else None
    last: Any = await redis.xrevrange(keys.tape(run_id), count=1)
    sha256 = orjson.loads(last[0][1][b"body"]).get("surface_sha256") if last else None
    surface = await redis.get(keys.surface(sha256)) if isinstance(sha256, str) else None
    texts = [("script", script), ("input", input_), ("surface", surface)]
    texts += [("result", result), ("output", output)]
    return [(name, data) for name, data in texts if data is not None]
