"""The rules of tenants and keys in Redis: one hash a tenant, read once for every run it submits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import orjson
from redis.exceptions import RedisError

from core import keys
from core.clock import Clock, now_ms
from core.errors import Broken, Invalid, NotFound, Unavailable
from ledger import inbox
from ledger.leaves import LeafKind, leaf, without_schemas
from tenancy.grants import GrantSet, Whose
from tenancy.tenants import OPERATOR, check_tenant

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: The field of the tenant's own rules; those of a key stand under its id.
_TENANT = "tenant"


class GrantStore:
    """The rules of all tenants. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._clock = clock

    async def ceiling(self, tenant: str, key_id: str) -> Mapping[Whose, GrantSet]:
        """
        Give what a tenant and one of its keys may call; a set that is not kept is absent.

        Raises:
            Unavailable: Redis could not be asked.
            Broken: what is kept is no set of rules; nothing may be called then.
        """
        async with _redis_or_unavailable():
            found = await cast(
                "Awaitable[list[bytes | None]]",
                self._redis.hmget(keys.grants(tenant), [_TENANT, key_id]),
            )
        return ceiling_of(found)

    async def all(self, tenant: str) -> tuple[GrantSet | None, dict[str, GrantSet]]:
        """
        Give the tenant's own rules, if it has some, and those of its keys by their ids.

        Raises:
            Unavailable, Broken: as `ceiling`.
        """
        async with _redis_or_unavailable():
            found = await cast(
                "Awaitable[dict[bytes, bytes]]", self._redis.hgetall(keys.grants(tenant))
            )
        sets = {field.decode(): _read(text) for field, text in sorted(found.items())}
        return sets.pop(_TENANT, None), sets

    async def set(self, tenant: str, key_id: str | None, rules: GrantSet, *, by: str) -> None:
        """
        Keep rules in place of those that are kept; of the tenant itself without a `key_id`.

        They hold for runs that are accepted from now on. Whether the key exists is not checked.
        `by` is the id of the key that asked for it, or `cli`.

        Raises:
            Invalid: no tenant name, or the operator's.
            Unavailable: Redis did not confirm.
        """
        check_tenant(tenant)
        if tenant == OPERATOR:
            # Its keys act for tenants, where grants of its own would not be looked for.
            raise Invalid("keys of the operator have no grants of their own", hint="give scopes")
        text = orjson.dumps(rules.to_json())
        async with _redis_or_unavailable():
            pipe = self._redis.pipeline(transaction=True)
            pipe.hset(keys.grants(tenant), key_id or _TENANT, text)
            inbox.record(pipe, _leaf(tenant, key_id, rules, by, self._clock()))
            await pipe.execute()

    async def remove(self, tenant: str, key_id: str | None, *, by: str) -> None:
        """
        Forget rules: they no longer limit anything.

        Raises:
            NotFound: none are kept.
            Unavailable: Redis did not confirm.
        """
        field = key_id or _TENANT
        async with _redis_or_unavailable():
            kept = await self._redis.hexists(keys.grants(tenant), field)
            if not kept:
                whose = f"key {key_id[:60]!a}" if key_id else f"tenant {tenant}"
                raise NotFound(f"{whose} has no grants of its own")
            pipe = self._redis.pipeline(transaction=True)
            pipe.hdel(keys.grants(tenant), field)
            inbox.record(pipe, _leaf(tenant, key_id, None, by, self._clock()))
            await pipe.execute()


def ceiling_of(texts: Sequence[bytes | None]) -> Mapping[Whose, GrantSet]:
    """
    Read the texts that are kept of a tenant's rules and of a key's, None where there are none.

    Raises:
        Broken: one is no set of rules; nothing may be called then.
    """
    both = zip((Whose.TENANT, Whose.KEY), texts, strict=True)
    return {whose: _read(text) for whose, text in both if text}


def _leaf(tenant: str, key_id: str | None, rules: GrantSet | None, by: str, at_ms: int) -> bytes:
    outline = None if rules is None else without_schemas(rules.to_json())
    facts = {"by": by, "grants": outline}
    return leaf(LeafKind.GRANTS_CHANGED, key_id or tenant, tenant=tenant, at_ms=at_ms, **facts)


@lru_cache(maxsize=1024)
def _read(text: bytes) -> GrantSet:
    try:
        return GrantSet.parse(orjson.loads(text))
    except (ValueError, TypeError, Invalid):
        raise Broken("grants that are kept cannot be read; nothing may be called by them") from None


@asynccontextmanager
async def _redis_or_unavailable() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("the grants cannot be read or kept; try again") from error
