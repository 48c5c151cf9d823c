"""
What a run was given, on its way into the archive as payloads: script, input, surface.

Runs in: sequencer. Trusts: Redis. Refuses: nothing; what is gone from Redis is left out, since the
leaf binds it in any case. May import: core, redis, ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import keys
from ledger.archive import Payload
from ledger.leaves import read_leaf

if TYPE_CHECKING:
    from redis import Redis

    from ledger.archive import Archive
    from ledger.taking import Sealer, TapeTaking

_AT_ONCE = 64


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
