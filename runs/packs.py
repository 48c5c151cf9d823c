"""
Which packs are in effect, for the ledger: a leaf for each change, whichever process starts first.

Runs in: api, worker. Trusts: its own catalog. Refuses: nothing; a process that starts with other
packs than the last one is a change, also when both go on.
May import: core, ledger, integrations, redis.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from core import keys
from core.clock import now_ms
from core.errors import Unavailable
from ledger.leaves import LeafKind, leaf
from runs.redis_scripts import load

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from integrations.catalog import Catalog

#: Packs whose digests a leaf quotes; of more it has the digest over all.
_MAX_QUOTED = 300
_TRIES = 10


async def note_packs(redis: Redis, catalog: Catalog, role: str) -> bool:
    """
    Tell the ledger of this process's packs, if they are others than before.

    Args:
        redis: where the service is.
        catalog: what this process has loaded.
        role: `api` or `worker`. They may have different packs for good; those of workers are
            called, those of the API are shown. What both have is told once.

    Returns:
        Whether a leaf was written.

    Raises:
        RedisError: Redis does not answer.
        Unavailable: processes of this role with different packs start again and again.
    """
    digest, packs = catalog.digest(), catalog.digests()
    for _ in range(_TRIES):
        noted: bytes | None = await cast("Any", redis.hget(keys.PACKS, role))
        before = (noted or b"").decode()
        if before == digest:
            return False
        text = leaf(
            LeafKind.PACKS_CHANGED,
            "packs",
            tenant="",
            at_ms=now_ms(),
            by=role,
            sha256=digest,
            before=before or None,
            packs=packs if len(packs) <= _MAX_QUOTED else None,
            moonsand=version("moonsand"),
        )
        told = await load("packs").run_async(redis, [role, before, digest, text])
        if told >= 0:
            return bool(told)
    raise Unavailable(
        f"processes of the role {role} with different packs start all the time",
        hint="give them all the same MOONSAND_PACKS_DIR and version",
    )
