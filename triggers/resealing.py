"""
Sealing all secrets of triggers with the current key, so that older keys can be thrown away.

Runs in: CLI. Trusts: whoever runs it, with all trigger keys. Refuses: to write over what does not
open. May import: stdlib, redis, core, triggers.

Services go on meanwhile: they have the same keys, and open what either has sealed. Done again it
changes what was made by a service that had the old key first until then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from core.errors import NotFound
from triggers import callback_store, hook_store
from triggers.kept import Changes, Fields, KeptThings, Kind, redis_or_unavailable
from triggers.mux_mixpeek import connections
from triggers.secret_set import SecretSet
from triggers.trigger_keys import TriggerKeys

if TYPE_CHECKING:
    from redis.asyncio import Redis

_BY = "cli"
Sealer = Callable[[TriggerKeys, str, Fields], Changes]


async def reseal(redis: Redis, keys: TriggerKeys) -> tuple[int, int]:
    """
    Seal what another key sealed; give how many things were changed, and how many have secrets.

    Raises:
        VaultDamaged: something does not open; those before it are done.
        Unavailable: a key that is needed is not here, or Redis does not answer.
    """
    changed, seen = 0, 0
    kinds: list[tuple[Kind, Sealer]] = [
        (hook_store.KIND, _set_of(hook_store.owner_of)),
        (callback_store.KIND, _set_of(callback_store.owner_of)),
        (connections.KIND, _of_connection),
    ]
    for kind, sealer in kinds:
        kept = KeptThings(redis, kind)
        async for one in _ids(redis, kind):
            fields = await kept.read_any(one)
            if fields is None:
                continue
            seen += 1
            if not sealer(keys, one, fields):
                continue
            try:
                await kept.change(
                    fields[b"tenant"].decode(),
                    one,
                    lambda now, one=one, sealer=sealer: sealer(keys, one, now),  # type: ignore[misc]
                    by=_BY,
                )
                changed += 1
            except NotFound:  # deleted just now
                continue
    return changed, seen


async def _ids(redis: Redis, kind: Kind) -> AsyncIterator[str]:
    prefix = kind.key("")
    async with redis_or_unavailable(f"the {kind.noun}s"):
        found: Any
        async for found in redis.scan_iter(match=f"{prefix}{kind.prefix}_*", count=500):
            yield found.decode().removeprefix(prefix)


def _set_of(owner_of: Callable[[str, str], tuple[str, str, str]]) -> Sealer:
    def sealer(keys: TriggerKeys, one: str, fields: Fields) -> Changes:
        owner = owner_of(fields[b"tenant"].decode(), one)
        secrets = SecretSet.read(owner, fields.get(b"secrets"))
        if all(keys.is_current(each.sealed) for each in secrets.kept):
            return {}
        return {"secrets": secrets.sealed_anew(keys).text()}

    return sealer


def _of_connection(keys: TriggerKeys, one: str, fields: Fields) -> Changes:
    sealed = fields.get(b"secret", b"").decode()
    if not sealed or keys.is_current(sealed):
        return {}
    place = connections.secret_place(one)
    return {"secret": keys.seal(keys.open(sealed, place), place)}
