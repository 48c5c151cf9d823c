"""
What a run was given and gave, on its way into the archive: script, input, surface, result, output.

Runs in: sequencer. Trusts: Redis. Refuses: nothing; what is gone from Redis is left out, since the
leaf binds it in any case. May import: core, redis, ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import keys
from ledger.archive import Payload
from ledger.bundle import TOLD_BY_DIGEST
from ledger.leaves import read_leaf

if TYPE_CHECKING:
    from redis import Redis

    from ledger.archive import Archive
    from ledger.taking import Sealer, TapeTaking

_AT_ONCE = 64
_MAX_BYTES_AT_ONCE = 8 << 20
#: A tape, `result` or `output`, and the digest of it.
_Asked = tuple["TapeTaking", str, str]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A payload to be read. What is kept by its digest belongs to no run: many share it."""

    id: str
    tenant: str
    run: str
    key: str
    at_ms: int


def take_terms(
    redis: Redis, archive: Archive, sealer: Sealer, accepted: Sequence[bytes]
) -> Iterator[Payload]:
    """Give scripts and inputs that `run.accepted` leaves name and the archive does not have."""
    return _take(redis, archive, sealer, [one for data in accepted for one in _wanted(data)])


def take_surfaces(
    redis: Redis, archive: Archive, sealer: Sealer, taken: Sequence[TapeTaking]
) -> Iterator[Payload]:
    """Give what the scripts of some tapes saw of the integrations, as far as it is missing."""
    wanted = []
    for one in taken:
        if one.surface_sha256 is not None:
            tenant, sha256 = one.ended.tenant, one.surface_sha256
            at_ms, key = one.ended.at_ms, keys.surface(sha256)
            wanted.append(_Wanted(f"surface/{tenant}/{sha256}", tenant, "", key, at_ms))
    return _take(redis, archive, sealer, wanted)


def take_endings(redis: Redis, sealer: Sealer, taken: Sequence[TapeTaking]) -> Iterator[Payload]:
    """Give results and outputs that the ends of some tapes name, if Redis still has just these."""
    wanted = [
        (one, name, sha256)
        for one in taken
        for name, sha256 in one.ended_with().items()
        if sha256 not in TOLD_BY_DIGEST
    ]
    for at in range(0, len(wanted), _AT_ONCE):
        part = wanted[at : at + _AT_ONCE]
        pipeline = redis.pipeline(transaction=False)
        for one, name, _ in part:
            pipeline.hstrlen(keys.run(one.ended.run), name)
        # One may have megabytes: they are not read all at once.
        sizes = pipeline.execute()
        for asked in _portions(part, sizes):
            for one, name, _ in asked:
                pipeline.hget(keys.run(one.ended.run), name)
            for (one, name, sha256), data in zip(asked, pipeline.execute(), strict=True):
                if data is not None and hashlib.sha256(data).hexdigest() == sha256:
                    ended, payload_id = one.ended, f"{name}/{one.id}"
                    key_id, sealed = sealer.seal(ended.tenant, payload_id, data)
                    yield Payload(
                        *(payload_id, ended.tenant, ended.run, ended.at_ms), key_id, sealed
                    )


def _portions(asked: Sequence[_Asked], sizes: Sequence[int]) -> Iterator[list[_Asked]]:
    portion: list[_Asked] = []
    room = _MAX_BYTES_AT_ONCE
    for one, size in zip(asked, sizes, strict=True):
        if portion and size > room:
            yield portion
            portion, room = [], _MAX_BYTES_AT_ONCE
        portion.append(one)
        room -= size
    if portion:
        yield portion


def _take(
    redis: Redis, archive: Archive, sealer: Sealer, asked: Sequence[_Wanted]
) -> Iterator[Payload]:
    wanted = {one.id: one for one in asked}
    for payload_id in archive.has_payloads(wanted):
        del wanted[payload_id]
    missing = list(wanted.values())
    for at in range(0, len(missing), _AT_ONCE):
        part = missing[at : at + _AT_ONCE]
        pipeline = redis.pipeline(transaction=False)
        for one in part:
            if one.key:
                pipeline.get(one.key)
            else:
                pipeline.hget(keys.run(one.run), "input")
        for one, data in zip(part, pipeline.execute(), strict=True):
            if data is not None:
                key_id, sealed = sealer.seal(one.tenant, one.id, data)
                yield Payload(one.id, one.tenant, one.run, one.at_ms, key_id, sealed)


def _wanted(data: bytes) -> Iterator[_Wanted]:
    fields = read_leaf(data)
    run, tenant, sha256 = (fields.get(name) for name in ("id", "tenant", "script_sha256"))
    at_ms = fields.get("at_ms")
    if not isinstance(at_ms, int):
        return
    if isinstance(run, str) and isinstance(tenant, str) and isinstance(sha256, str):
        yield _Wanted(f"input/{run}", tenant, run, "", at_ms)
        yield _Wanted(f"script/{tenant}/{sha256}", tenant, "", keys.script(sha256), at_ms)
