"""
Keeping hooks and callback endpoints: one hash each and one index a tenant, changed in one step.

Runs in: api, CLI. Trusts: Redis. Refuses: more of a kind than a tenant may have; to show or
change what is another tenant's, in the same words as what never was. May import: stdlib, redis,
core, ledger.

Each change stands in the ledger, in the same transaction. A change reads what is there, and is
tried again when somebody else changed it meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError, WatchError

from core.clock import Clock, now_ms
from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.ids import is_id
from ledger import inbox
from ledger.leaves import LeafKind, leaf

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_PAGE = 200
_TRIES = 50
#: Fields of a hash as they are read.
Fields = Mapping[bytes, bytes]
#: Fields to write; None removes one.
Changes = Mapping[str, str | bytes | int | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One kind of kept things: how ids begin, where they are, and how many a tenant may have.

    `unique` is a field whose value no two of a tenant have.
    """

    noun: str
    prefix: str
    key: Callable[[str], str]
    index: Callable[[str], str]
    most: int
    leaf_kind: LeafKind
    listed_by: str
    unique: str | None = None


@asynccontextmanager
async def redis_or_unavailable(what: str) -> AsyncIterator[None]:
    """
    Say that `what` cannot be reached when Redis does not answer.

    Raises:
        Unavailable: it does not.
    """
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"{what} cannot be reached; try again") from error


class KeptThings:
    """All things of one kind. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, kind: Kind, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._kind = kind
        self._clock = clock

    async def add(self, tenant: str, one: str, fields: Changes, *, by: str) -> None:
        """
        Keep a new thing under the id `one`. `by` is the id of the key that asked for it.

        Raises:
            Conflict: the tenant has as many as it may have, or one with this id or `unique` value.
            Unavailable: Redis did not confirm.
        """
        kind, now = self._kind, self._clock()
        for _ in range(_TRIES):
            async with self._transaction(kind.index(tenant)) as pipe:
                if await pipe.zcard(kind.index(tenant)) >= kind.most:
                    raise Conflict(
                        f"the tenant has {kind.most} {kind.noun}s; no more are taken",
                        hint=f"delete one; {kind.listed_by} lists them",
                    )
                if await pipe.zscore(kind.index(tenant), one) is not None:
                    raise Conflict(f"this {kind.noun} was made a moment ago")
                await self._check_unique(pipe, tenant, one, fields)
                pipe.multi()
                pipe.hset(kind.key(one), mapping=_written({**fields, "tenant": tenant}))
                pipe.zadd(kind.index(tenant), {one: now})
                if await self._done(pipe, tenant, one, by, "created"):
                    return
        raise self._busy()

    async def read(self, tenant: str, one: str) -> Fields:
        """
        Give the fields of a thing of this tenant.

        Raises:
            NotFound: it has none with this id. Unavailable: Redis does not answer.
        """
        return self._own(tenant, await self.read_any(one) or {})

    async def read_any(self, one: str) -> Fields | None:
        """
        Give the fields of a thing, whoever's it is; None when there is none.

        Raises:
            Unavailable: Redis does not answer.
        """
        if not is_id(one, self._kind.prefix):
            return None
        async with redis_or_unavailable(f"the {self._kind.noun}"):
            found = await cast("Any", self._redis.hgetall(self._kind.key(one)))
        return found if found and b"tenant" in found else None

    async def page(
        self, tenant: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[tuple[str, Fields]], str | None]:
        """
        List the tenant's things, newest first, and give the cursor of the next page or None.

        Raises:
            Invalid: `cursor` is none of this list, or `limit` not 1 to `MAX_PAGE`.
            Unavailable: Redis does not answer.
        """
        kind = self._kind
        if not 1 <= limit <= MAX_PAGE:
            raise Invalid(f"limit must be 1 to {MAX_PAGE}, not {limit}", pointer="/limit")
        if cursor is not None and not is_id(cursor, kind.prefix):
            raise Invalid("not a cursor of this list", pointer="/cursor")
        async with redis_or_unavailable(f"the {kind.noun}s"):
            found = await cast("Any", self._redis.zrange(kind.index(tenant), 0, -1))
            ids = sorted((one.decode() for one in found), reverse=True)
            ids = [one for one in ids if cursor is None or one < cursor]
            pipe = cast("Any", self._redis.pipeline(transaction=False))
            for one in ids[:limit]:
                pipe.hgetall(kind.key(one))
            rows = await pipe.execute() if ids else []
        there = [(one, row) for one, row in zip(ids[:limit], rows, strict=True) if row]
        return there, ids[limit - 1] if len(ids) > limit else None

    async def change(
        self, tenant: str, one: str, change: Callable[[Fields], Changes], *, by: str
    ) -> Fields:
        """
        Change a thing; `change` gets its fields and gives those to write. Gives it as it is then.

        Raises:
            NotFound: the tenant has none with this id.
            Conflict: another one has its new `unique` value.
            Unavailable: Redis did not confirm.
        """
        kind = self._kind
        for _ in range(_TRIES):
            async with self._transaction(kind.key(self._checked(one))) as pipe:
                changes = change(self._own(tenant, await pipe.hgetall(kind.key(one))))
                await self._check_unique(pipe, tenant, one, changes)
                gone = [name for name, value in changes.items() if value is None]
                pipe.multi()
                if len(gone) < len(changes):
                    pipe.hset(kind.key(one), mapping=_written(changes))
                if gone:
                    pipe.hdel(kind.key(one), *gone)
                if await self._done(pipe, tenant, one, by, "changed"):
                    return await self.read(tenant, one)
        raise self._busy()

    async def remove(self, tenant: str, one: str, *, by: str) -> None:
        """
        Forget a thing.

        Raises:
            NotFound: the tenant has none with this id.
            Unavailable: Redis did not confirm.
        """
        kind = self._kind
        for _ in range(_TRIES):
            async with self._transaction(kind.key(self._checked(one))) as pipe:
                self._own(tenant, await pipe.hgetall(kind.key(one)))
                pipe.multi()
                pipe.delete(kind.key(one))
                pipe.zrem(kind.index(tenant), one)
                if await self._done(pipe, tenant, one, by, "deleted"):
                    return
        raise self._busy()

    # --- parts ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def _transaction(self, watched: str) -> AsyncIterator[Any]:
        async with (
            redis_or_unavailable(f"the {self._kind.noun}s"),
            cast("Any", self._redis.pipeline(transaction=True)) as pipe,
        ):
            await pipe.watch(watched)
            yield pipe

    async def _check_unique(self, pipe: Any, tenant: str, one: str, changes: Changes) -> None:
        kind = self._kind
        if kind.unique is None or kind.unique not in changes:
            return
        await pipe.watch(kind.index(tenant))
        ids = [found.decode() for found in await pipe.zrange(kind.index(tenant), 0, -1)]
        others = [kind.key(other) for other in ids if other != one]
        if others:  # what is read here must be so still when the change is written
            await pipe.watch(*others)
        wanted = str(changes[kind.unique]).encode()
        for other in others:
            if await pipe.hget(other, kind.unique) == wanted:
                raise Conflict(
                    f"there is a {kind.noun} of this {kind.unique} already",
                    hint="choose another, or change that one",
                )

    async def _done(self, pipe: Any, tenant: str, one: str, by: str, what: str) -> bool:
        at_ms = self._clock()
        inbox.record(
            pipe, leaf(self._kind.leaf_kind, one, tenant=tenant, at_ms=at_ms, by=by, change=what)
        )
        try:
            await pipe.execute()
        except WatchError:
            return False
        return True

    def _checked(self, one: str) -> str:
        if not is_id(one, self._kind.prefix):
            raise self.missing()
        return one

    def _own(self, tenant: str, fields: Fields) -> Fields:
        if fields.get(b"tenant") != tenant.encode():
            raise self.missing()
        return fields

    def missing(self) -> NotFound:
        """Make the one answer to every id that the tenant has nothing under."""
        noun, listed_by = self._kind.noun, self._kind.listed_by
        return NotFound(f"there is no {noun} with this id", hint=f"{listed_by} lists yours")

    def _busy(self) -> Unavailable:
        return Unavailable(f"others changed this {self._kind.noun} all the time", hint="try again")


def _written(changes: Changes) -> dict[str, str | bytes | int]:
    return {name: value for name, value in changes.items() if value is not None}
