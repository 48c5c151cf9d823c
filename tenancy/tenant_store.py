"""
The tenants in Redis: made, listed, suspended, resumed and deleted, each with its ledger leaf.

A tenant that is suspended keeps all it has: its keys open nothing and nothing of it is started.
One that is deleted loses its keys, grants, terms and accounts at once; its name stays taken, since
the ledger tells of it for ever. What its runs left is removed by those who can: see
`moonsand tenants delete --erase`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError, WatchError

from core import keys
from core.clock import Clock, now_ms
from core.errors import Conflict, Unavailable
from ledger import inbox
from ledger.leaves import LeafKind, leaf
from tenancy.key_changes import forget
from tenancy.key_record import KeyRecord
from tenancy.tenant_record import TenantRecord, check_room, no_such_tenant
from tenancy.tenants import OPERATOR, check_tenant
from tenancy.terms import SUSPENDED

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_PAGE = 200
_TRIES = 16


class TenantStore:
    """
    All tenants. Owns nothing; the connection is its maker's.

    `by` is the id of the key that asks, or `cli`.
    """

    def __init__(self, redis: Redis, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._clock = clock

    async def create(self, name: str, *, by: str) -> TenantRecord:
        """
        Make a tenant, without keys.

        Raises:
            Invalid: no tenant name.
            Conflict: it is there already, or was deleted; or there are `MAX_TENANTS`.
            Unavailable: Redis did not confirm.
        """
        made = TenantRecord(name=name, created_ms=self._clock())

        async def begin(pipe: Any, known: TenantRecord | None) -> TenantRecord:
            if known is not None:
                known.check_not_deleted()
                raise Conflict(f"there is a tenant {name} already")
            await check_room(pipe)
            pipe.multi()
            made.keep(pipe)
            self._tell(pipe, LeafKind.TENANT_CREATED, name, by)
            return made

        return await self._transact(name, begin)

    async def get(self, name: str) -> TenantRecord:
        """
        Give a tenant, one that was deleted too.

        Raises:
            Invalid: no tenant name. NotFound: there is none. Unavailable: Redis could not be asked.
        """
        check_tenant(name)
        found = await self._read([name])
        if not found:
            raise no_such_tenant(name)
        return found[0]

    async def page(self, after: str | None, limit: int) -> tuple[list[TenantRecord], str | None]:
        """
        Give up to `limit` tenants in order of names, and the last name if there are more.

        Args:
            after: the last name of the page before, None for the first.
            limit: 1 to `MAX_PAGE`.

        Raises:
            Invalid: `after` is no tenant name.
            Unavailable: Redis could not be asked.
        """
        limit = max(1, min(limit, MAX_PAGE))
        start = "-" if after is None else f"({check_tenant(after)}"
        async with _redis_or_unavailable():
            found: Any = await self._redis.zrange(
                keys.TENANT_NAMES, start, "+", bylex=True, offset=0, num=limit + 1
            )
        names = [name.decode() for name in found]
        records = await self._read(names[:limit])
        return records, names[limit - 1] if len(names) > limit else None

    async def suspend(self, name: str, *, by: str) -> TenantRecord:
        """
        Let the tenant's keys open nothing and start nothing of it; asked again, nothing changes.

        Runs in hand go on to their end.

        Raises:
            Conflict: it was deleted, or is the operator's.
            NotFound, Invalid, Unavailable: as `get`.
        """
        _refuse_operator(name, "suspended")
        now = self._clock()

        async def begin(pipe: Any, known: TenantRecord | None) -> TenantRecord:
            known = _there(name, known)
            pipe.multi()
            if known.suspended_ms is not None:
                return known
            pipe.hset(keys.terms(name), SUSPENDED, now)
            self._tell(pipe, LeafKind.TENANT_SUSPENDED, name, by)
            return known.model_copy(update={"suspended_ms": now})

        return await self._transact(name, begin)

    async def resume(self, name: str, *, by: str) -> TenantRecord:
        """
        End a suspension; asked again, nothing changes. What is queued starts within seconds.

        Raises:
            Conflict: it was deleted. NotFound, Invalid, Unavailable: as `get`.
        """

        async def begin(pipe: Any, known: TenantRecord | None) -> TenantRecord:
            known = _there(name, known)
            pipe.multi()
            if known.suspended_ms is None:
                return known
            pipe.hdel(keys.terms(name), SUSPENDED)
            self._tell(pipe, LeafKind.TENANT_RESUMED, name, by)
            return known.model_copy(update={"suspended_ms": None})

        return await self._transact(name, begin)

    async def check_deletable(self, name: str) -> None:
        """
        Refuse as `delete` would, before anything of the tenant is ended.

        Raises:
            Conflict, NotFound, Invalid, Unavailable: as `delete`.
        """
        _refuse_operator(name, "deleted")
        _deletable(name, await self.get(name))

    async def delete(self, name: str, *, by: str) -> TenantRecord:
        """
        Delete a tenant that is suspended: its keys, grants, terms and accounts, in one step.

        Raises:
            Conflict: it is not suspended, was deleted before, or is the operator's.
            NotFound, Invalid, Unavailable: as `get`.
        """
        _refuse_operator(name, "deleted")
        now = self._clock()

        async def begin(pipe: Any, known: TenantRecord | None) -> TenantRecord:
            known = _deletable(name, known)
            owned = await _keys_of(pipe, name)
            vault = await pipe.exists(keys.vault_key(name))
            after = known.model_copy(update={"deleted_ms": now})
            pipe.multi()
            for record in owned:
                forget(pipe, record, now, by=by)
            pipe.delete(keys.grants(name), keys.terms(name), keys.key_uses(name))
            pipe.hset(keys.terms(name), SUSPENDED, known.suspended_ms)
            if vault:
                pipe.delete(keys.vault_key(name), keys.vault_index(name), keys.vault_accounts(name))
                pipe.srem(keys.VAULTS, name)
                self._tell(pipe, LeafKind.CREDENTIALS_ERASED, name, by)
            after.keep(pipe)
            self._tell(pipe, LeafKind.TENANT_DELETED, name, by, keys=len(owned))
            return after

        return await self._transact(name, begin)

    async def _read(self, names: list[str]) -> list[TenantRecord]:
        if not names:
            return []
        async with _redis_or_unavailable():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hmget(keys.TENANTS, names)
            for name in names:
                pipe.hget(keys.terms(name), SUSPENDED)
            texts, *since = await pipe.execute()
        rows = zip(names, texts, since, strict=True)
        records = (TenantRecord.read(name, text, at) for name, text, at in rows)
        return [record for record in records if record is not None]

    def _tell(self, pipe: Any, kind: LeafKind, name: str, by: str, **facts: Any) -> None:
        told = leaf(kind, name, tenant=name, at_ms=self._clock(), by=by, **facts)
        inbox.record(pipe, told)

    async def _transact(
        self,
        name: str,
        begin: Callable[[Any, TenantRecord | None], Awaitable[TenantRecord]],
    ) -> TenantRecord:
        check_tenant(name)
        async with _redis_or_unavailable():
            for _ in range(_TRIES):
                async with self._redis.pipeline(transaction=True) as pipe:
                    watched = (keys.TENANTS, keys.terms(name), keys.tenant_keys(name))
                    await pipe.watch(*watched, keys.vault_key(name), keys.vault_index(name))
                    text = await cast("Awaitable[bytes | None]", pipe.hget(keys.TENANTS, name))
                    since = await cast(
                        "Awaitable[bytes | None]", pipe.hget(keys.terms(name), SUSPENDED)
                    )
                    made = await begin(pipe, TenantRecord.read(name, text, since))
                    try:
                        await pipe.execute()
                    except WatchError:
                        continue
                    return made
        raise Unavailable("the tenants are being changed by others; try again")


def _there(name: str, known: TenantRecord | None) -> TenantRecord:
    if known is None:
        raise no_such_tenant(name)
    known.check_not_deleted()
    return known


def _deletable(name: str, known: TenantRecord | None) -> TenantRecord:
    known = _there(name, known)
    if known.suspended_ms is None:
        raise Conflict(
            f"tenant {name} is active; only one that is suspended is deleted",
            hint=f"moonsand tenants suspend {name}",
        )
    return known


def _refuse_operator(name: str, what: str) -> None:
    if name == OPERATOR:
        raise Conflict(
            f"the tenant {OPERATOR} has the keys of those who run the service: it is not {what}",
            hint="revoke keys of its own instead",
        )


async def _keys_of(pipe: Any, tenant: str) -> list[KeyRecord]:
    digests = await pipe.hvals(keys.tenant_keys(tenant))
    rows = await pipe.hmget(keys.KEYS, digests) if digests else []
    return [KeyRecord.model_validate_json(row) for row in rows if row is not None]


@asynccontextmanager
async def _redis_or_unavailable() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("the tenants cannot be read or changed; try again") from error
