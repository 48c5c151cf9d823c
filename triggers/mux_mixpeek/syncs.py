"""
Syncs: what is kept of each, and the two steps of Redis by which its cycles begin and end.

Runs in: api, scheduler. Trusts: Redis. Refuses: to show or change what is another tenant's.
May import: stdlib, redis, orjson, core, ledger, triggers, runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys
from core.clock import Clock, now_ms
from core.errors import NotFound
from core.ids import new_id
from ledger.leaves import LeafKind
from runs.redis_scripts import Arg, load
from triggers.kept import Fields, KeptThings, Kind, redis_or_unavailable
from triggers.mux_mixpeek.model import COUNTERS, SYNC, Status, Sync, SyncChange, SyncConfig
from triggers.starting import Owner

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_SYNCS = 200
_LOOK_MS = 1_000
_BUSY_MS = 2_000
_TAKEN_MS = 30_000
_MOST_TAKEN = 64
_HOLD_S = 30
_KIND = Kind(
    noun="sync",
    prefix=SYNC,
    key=keys.sync,
    index=keys.syncs,
    most=MAX_SYNCS,
    leaf_kind=LeafKind.SYNC_CHANGED,
    listed_by="POST /v1/buckets/{bucket_id}/syncs/list",
)


class Syncs:
    """The syncs of all tenants. Owns nothing; the connection to Redis is its maker's."""

    def __init__(self, redis: Redis, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._kept = KeptThings(redis, _KIND, clock)
        self._clock = clock

    async def add(
        self,
        tenant: str,
        bucket_id: str,
        config: SyncConfig,
        *,
        by: Owner,
        sync_id: str | None = None,
    ) -> Sync:
        """
        Keep a sync; it is due at once.

        Raises:
            Conflict: the tenant has too many. Unavailable: Redis did not confirm.
        """
        one, now = sync_id or new_id(SYNC), self._clock()
        fields: dict[str, str | bytes | int | None] = {
            "bucket_id": bucket_id,
            "config": _config_text(config),
            "connection": config.connection_id,
            "place": _place(tenant, bucket_id, config),
            "active": int(config.is_active),
            **_owned(by),
            "status": Status.PENDING.value,
            "created_ms": now,
            "updated_ms": now,
        }
        await self._kept.add(tenant, one, fields, by=by.key_id)
        await self.look_at(one, now)
        return await self.get(tenant, bucket_id, one)

    async def get(self, tenant: str, bucket_id: str, one: str) -> Sync:
        """
        Give a sync of this tenant and bucket.

        Raises:
            NotFound: there is none. Unavailable: Redis does not answer.
        """
        found = await self._read(one, await self._kept.read(tenant, one))
        if found.bucket_id != bucket_id:
            raise NotFound(
                "this bucket has no sync with this id", hint=f"{_KIND.listed_by} lists them"
            )
        return found

    async def find(self, one: str) -> Sync | None:
        """Give a sync whoever's it is; None when there is none."""
        found = await self._kept.read_any(one)
        return None if found is None else await self._read(one, found)

    async def page(
        self, tenant: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[Sync], str | None]:
        """
        List the tenant's syncs, newest first, with the cursor of the next page or None.

        Raises:
            Invalid: the cursor or the limit. Unavailable: Redis does not answer.
        """
        rows, after = await self._kept.page(tenant, cursor=cursor, limit=limit)
        return [await self._read(one, fields) for one, fields in rows], after

    async def of_connection(self, tenant: str, connection_id: str) -> list[Sync]:
        """Give all syncs of a connection."""
        found = (await self.page(tenant, limit=MAX_SYNCS))[0]
        return [one for one in found if one.config.connection_id == connection_id]

    async def change(  # noqa: PLR0913 (which, what, and who)
        self,
        tenant: str,
        bucket_id: str,
        one: str,
        given: SyncChange,
        *,
        by: str,
        owner: Owner | None = None,
    ) -> Sync:
        """
        Change a sync, and give it as it is then; one that is switched on is due at once.

        With an `owner` its runs have the rights of that key from now on.

        Raises:
            NotFound: there is none. Unavailable: Redis did not confirm.
        """
        await self.get(tenant, bucket_id, one)

        def changed(fields: Fields) -> Mapping[str, str | bytes | int | None]:
            before = SyncConfig.model_validate(orjson.loads(fields[b"config"]), strict=False)
            said = given.model_dump(exclude_unset=True)
            kept = {name: getattr(given, name) for name in said}
            config = before.model_copy(
                update={
                    name: value
                    for name, value in kept.items()
                    if value is not None or name == "description"
                }
            )
            return {
                "config": _config_text(config),
                "active": int(config.is_active),
                "updated_ms": self._clock(),
                **({} if owner is None else _owned(owner)),
            }

        await self._kept.change(tenant, one, changed, by=by)
        sync = await self.get(tenant, bucket_id, one)
        finished = sync.status is Status.COMPLETED
        if given.is_active and not finished:
            await self.look_at(one, self._clock())
        elif given.polling_interval_seconds and sync.last_ms and sync.due_ms and not sync.run:
            await self.look_at(one, sync.last_ms + given.polling_interval_seconds * 1000)
        return await self.get(tenant, bucket_id, one)

    async def hand_over(self, sync: Sync, owner: Owner) -> None:
        """
        Let the runs of a sync have the rights of another key.

        Raises:
            NotFound: it is gone. Unavailable: Redis did not confirm.
        """
        fields: dict[str, str | bytes | int | None] = {"updated_ms": self._clock(), **_owned(owner)}
        await self._kept.change(sync.tenant, sync.id, lambda _: fields, by=owner.key_id)

    async def remove(self, sync: Sync, *, by: str, hold: bool = False) -> None:
        """
        Forget a sync; the objects it made stay. `hold` keeps others out of its bucket for a while.

        A run that is being stopped may make one more object.

        Raises:
            NotFound: it is gone already. Unavailable: Redis did not confirm.
        """
        await self._kept.remove(sync.tenant, sync.id, by=by)
        async with redis_or_unavailable("the syncs"):
            await cast("Any", self._redis.zrem(keys.SYNCS_DUE, sync.id))
            if hold:
                place = _place(sync.tenant, sync.bucket_id, sync.config)
                await cast("Any", self._redis.expire(keys.filling(place), _HOLD_S))

    # --- cycles --------------------------------------------------------------------------------

    async def take_due(self) -> list[str]:
        """Give the syncs that are due, and to nobody else for half a minute."""
        args: list[Arg] = [keys.SYNCS_DUE, self._clock(), _TAKEN_MS, _MOST_TAKEN]
        found = await load("sync_take").run_async(self._redis, args)
        return [one.decode() for one in found]

    async def look_at(self, one: str, at_ms: int) -> None:
        """Have somebody look at a sync at a Unix millisecond."""
        async with redis_or_unavailable("the syncs"):
            await cast("Any", self._redis.zadd(keys.SYNCS_DUE, {one: at_ms}))

    async def next_due_ms(self) -> int | None:
        """Give the Unix millisecond at which the first sync is due."""
        found = await cast("Any", self._redis.zrange(keys.SYNCS_DUE, 0, 0, withscores=True))
        return int(found[0][1]) if found else None

    async def begin(self, one: str, run_id: str) -> str | None:
        """
        Begin a cycle with `run_id`, if none is under way.

        Returns:
            The run that carries the cycle now; '' while another sync fills the same bucket; None
            when the sync is off or gone.
        """
        args: list[Arg] = [one, run_id, self._clock(), _LOOK_MS, _BUSY_MS]
        found = await load("sync_begin").run_async(self._redis, args)
        return None if found is None else str(found.decode())

    async def end(
        self,
        one: str,
        run_id: str,
        due_ms: int | None,
        counts: Mapping[str, int],
        fields: Mapping[str, str | bytes | int],
    ) -> bool:
        """
        Write what a run of a cycle came to; False when somebody else did.

        Args:
            one: the sync.
            run_id: the run.
            due_ms: when the sync is due again, Unix milliseconds; None for never.
            counts: what is added to the counters, by the names of `COUNTERS`.
            fields: what is written beside; an empty text removes.
        """
        added = {name: count for name, count in counts.items() if name in COUNTERS}
        args: list[Arg] = [one, run_id, "" if due_ms is None else due_ms]
        args += [self._clock(), len(added)]
        args += [part for name, count in added.items() for part in (f"n.{name}", count)]
        args += [part for pair in fields.items() for part in pair]
        return bool(await load("sync_end").run_async(self._redis, args))

    async def ask_again(self, one: str) -> None:
        """Have another cycle begin as soon as the one that is under way has ended."""
        async with redis_or_unavailable("the syncs"):
            await cast("Any", self._redis.hset(keys.sync(one), "again", 1))

    async def _read(self, one: str, fields: Fields) -> Sync:
        due = await cast("Any", self._redis.zscore(keys.SYNCS_DUE, one))
        return _sync(one, fields, None if due is None else int(due))


def _owned(owner: Owner) -> dict[str, str]:
    return {"key_id": owner.key_id, "key_tenant": owner.key_tenant}


def _config_text(config: SyncConfig) -> bytes:
    return orjson.dumps(config.model_dump(mode="json", exclude_unset=True))


def _place(tenant: str, bucket_id: str, config: SyncConfig) -> str:
    text = orjson.dumps([config.mixpeek_account, config.namespace_id, bucket_id])
    return f"{tenant}:{hashlib.sha256(text).hexdigest()[:32]}"


def _sync(one: str, fields: Fields, due_ms: int | None) -> Sync:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    following, last = text.get("next"), text.get("last_ms")
    return Sync(
        id=one,
        tenant=text["tenant"],
        owner=Owner(text["key_id"], text["key_tenant"]),
        bucket_id=text["bucket_id"],
        config=SyncConfig.model_validate(orjson.loads(text["config"]), strict=False),
        created_ms=int(text["created_ms"]),
        updated_ms=int(text["updated_ms"]),
        status=Status(text["status"]),
        run=text.get("run"),
        last_run=text.get("last_run"),
        next=None if following is None else orjson.loads(following),
        due_ms=due_ms,
        last_ms=None if last is None else int(last),
        last_error=text.get("last_error"),
        failures=int(text.get("failures", 0)),
        failing=text.get("failing") == "1",
        cycles=int(text.get("cycles", 0)),
        counts={name: int(text.get(f"n.{name}", 0)) for name in COUNTERS},
    )
