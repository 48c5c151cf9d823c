"""
Making, changing, rotating and revoking API keys: each is one transaction with its ledger leaf.

A transaction holds only if nobody changed a key of the tenant since it was checked, so that a key
that is revoked or expires meanwhile gives nothing any more. Times are those of Redis: several hosts
whose clocks differ agree on when a key ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from redis.exceptions import RedisError, WatchError

from core import keys
from core.clock import Clock, now_ms
from core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from core.ids import new_id
from ledger import inbox
from ledger.leaves import LeafKind, leaf
from tenancy.key_record import KeyRecord, check_expiry, check_name, check_scopes
from tenancy.key_text import digest_of, new_plain_key
from tenancy.scopes import DEFAULT_SCOPES, Scope
from tenancy.tenant_record import TenantRecord, check_room, no_such_tenant
from tenancy.tenants import check_tenant

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")
#: Keys that one tenant may have, those that have expired included.
MAX_KEYS = 1_000
#: The longest that a secret which was replaced may go on: 30 days.
MAX_GRACE_S = 30 * 86_400
BY_CLI = "cli"
_TRIES = 16


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What is to be different; None leaves a thing as it is. `expires_ms` 0 takes an expiry off."""

    name: str | None = None
    scopes: tuple[Scope, ...] | None = None
    expires_ms: int | None = None


class KeyChanges:
    """
    The half of the key store that writes. `giver` is the key that asks, None for the command line.

    What a giver does not have it cannot give: see `tenancy.key_record`.
    """

    def __init__(self, redis: Redis, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._clock = clock

    async def create(  # noqa: PLR0913 (what differs between two keys, all named)
        self,
        tenant: str,
        name: str,
        *,
        scopes: Iterable[Scope] = DEFAULT_SCOPES,
        expires_ms: int | None = None,
        giver: KeyRecord | None = None,
        key_id: str | None = None,
    ) -> tuple[str, KeyRecord]:
        """
        Make a key; the text is given here and never again.

        With a `key_id` of the caller's there is one key, however often it is tried. Without a giver
        the tenant is made too if there is none. The key of a giver that expires
        ends with it unless an earlier end is named, and has its grants.

        Raises:
            Invalid: no tenant name; `name` is empty, too long or not printable; a wrong expiry.
            Forbidden: the giver has less.
            NotFound: no such tenant. Conflict: it was deleted, or has `MAX_KEYS`.
            Unauthenticated: the giver was revoked meanwhile.
            Unavailable: Redis did not confirm.
        """
        check_tenant(tenant)
        check_name(name)
        wanted = check_scopes(tenant, scopes)
        if giver is not None:
            expires_ms = giver.expires_ms if expires_ms is None else expires_ms
            giver.check_giving(wanted, expires_ms)
        plain, now = new_plain_key(), self._clock()
        record = KeyRecord(
            id=key_id or new_id("key", now_ms=now),
            tenant=tenant,
            name=name,
            scopes=wanted,
            last4=plain[-4:],
            created_ms=now,
            digest=digest_of(plain),
            expires_ms=expires_ms,
            by=_by(giver),
        )

        async def begin(pipe: Any) -> KeyRecord:
            check_expiry(expires_ms, await _now_ms(pipe))
            told = await _tenant_for(pipe, tenant, now, giver)
            if await pipe.hlen(keys.tenant_keys(tenant)) >= MAX_KEYS:
                raise Conflict(
                    f"tenant {tenant} has {MAX_KEYS} keys, which is all that is allowed",
                    hint="revoke some; those that have expired count too",
                )
            if key_id is not None and await pipe.hexists(keys.tenant_keys(tenant), key_id):
                raise Conflict("this key was made a moment ago")
            inherited = await _grants_of(pipe, giver)
            pipe.multi()
            for one in told:
                _make_tenant(pipe, tenant, now, one)
            if inherited is not None:
                pipe.hset(keys.grants(tenant), record.id, inherited)
            _keep(pipe, record)
            _tell(pipe, LeafKind.KEY_CREATED, record, now)
            return record

        return plain, await self._transact(tenant, giver, begin)

    async def change(
        self, tenant: str, key_id: str, change: KeyChange, *, giver: KeyRecord | None = None
    ) -> KeyRecord:
        """
        Give a key another name, other scopes or another end; its text stays.

        Raises:
            Invalid, Forbidden, NotFound, Unauthenticated, Unavailable: as `create`.
        """
        if change.name is not None:
            check_name(change.name)
        now = self._clock()

        async def begin(pipe: Any) -> KeyRecord:
            record = await _find(pipe, tenant, key_id)
            after = _changed(record, change, tenant)
            if change.expires_ms:
                check_expiry(after.expires_ms, await _now_ms(pipe))
            if giver is not None:
                more = set(after.scopes) - set(record.scopes)
                longer = change.expires_ms is not None and not _within(after, record)
                end = after.expires_ms if longer else giver.expires_ms
                giver.check_giving([one for one in after.scopes if one in more], end)
            pipe.multi()
            _keep(pipe, after)
            _tell(pipe, LeafKind.KEY_CHANGED, after, now, by=_by(giver))
            return after

        return await self._transact(tenant, giver, begin)

    async def rotate(
        self, tenant: str, key_id: str, *, grace_s: int = 0, giver: KeyRecord | None = None
    ) -> tuple[str, KeyRecord]:
        """
        Give a key a new text, shown here and never again; its id, grants and limits stay.

        The old text opens for another `grace_s` seconds, 0 to `MAX_GRACE_S`, but administers
        nothing; one that an earlier rotation had replaced ends at once. Who is given the text of
        another key could do what that key can: a giver must have all of it.

        Raises:
            Invalid, Forbidden, NotFound, Unauthenticated, Unavailable: as `create`.
        """
        if not 0 <= grace_s <= MAX_GRACE_S:
            raise Invalid(f"the grace period is 0 to {MAX_GRACE_S} seconds", pointer="/grace_s")
        plain, now = new_plain_key(), self._clock()
        digest = digest_of(plain)

        async def begin(pipe: Any) -> KeyRecord:
            record = await _find(pipe, tenant, key_id)
            await _check_taking_over(pipe, giver, record)
            ends = await _now_ms(pipe) + grace_s * 1000
            if record.expires_ms is not None:
                ends = min(ends, record.expires_ms)
            old = {"previous": record.digest, "previous_ends_ms": ends} if grace_s else {}
            none = {"previous": None, "previous_ends_ms": None}
            after = record.model_copy(update={"digest": digest, "last4": plain[-4:], **none, **old})
            pipe.multi()
            pipe.hdel(keys.KEYS, record.digest, *([record.previous] if record.previous else []))
            _keep(pipe, after)
            facts = {"by": _by(giver), "replaced_sha256": record.digest, "grace_s": grace_s}
            _tell(pipe, LeafKind.KEY_ROTATED, after, now, **facts)
            return after

        return plain, await self._transact(tenant, giver, begin)

    async def revoke(
        self, tenant: str, key_id: str, *, giver: KeyRecord | None = None
    ) -> KeyRecord:
        """
        End a key at once, with its grants and terms; requests that were already let in go on.

        Raises:
            NotFound: the tenant has no such key.
            Unauthenticated: the giver was revoked meanwhile.
            Unavailable: Redis did not confirm.
        """
        now = self._clock()

        async def begin(pipe: Any) -> KeyRecord:
            record = await _find(pipe, tenant, key_id)
            pipe.multi()
            forget(pipe, record, now, by=_by(giver))
            return record

        return await self._transact(tenant, giver, begin)

    async def _transact(
        self, tenant: str, giver: KeyRecord | None, begin: Callable[[Any], Awaitable[T]]
    ) -> T:
        """Try until no key of the tenant, nor the giver, changed between the check and the end."""
        check_tenant(tenant)
        async with redis_or_unavailable():
            for _ in range(_TRIES):
                async with self._redis.pipeline(transaction=True) as pipe:
                    await pipe.watch(keys.TENANTS, keys.tenant_keys(tenant))
                    await watch_giver(pipe, giver)
                    try:
                        made = await begin(pipe)
                        await pipe.execute()
                    except WatchError:
                        continue
                    return made
        raise Unavailable("the tenant's keys are being changed by others; try again")


def forget(pipe: Any, record: KeyRecord, at_ms: int, *, by: str) -> None:
    """Put the end of a key into a MULTI: both of its secrets, its grants, terms and leaf."""
    pipe.hdel(keys.KEYS, record.digest, *([record.previous] if record.previous else []))
    pipe.hdel(keys.tenant_keys(record.tenant), record.id)
    pipe.hdel(keys.grants(record.tenant), record.id)
    pipe.hdel(keys.key_uses(record.tenant), record.id)
    pipe.delete(keys.key_terms(record.tenant, record.id))
    _tell(pipe, LeafKind.KEY_REVOKED, record, at_ms, by=by)


async def watch_giver(pipe: Any, giver: KeyRecord | None) -> None:
    """
    Let the coming MULTI hold only if the giver still is what it was, with nothing of its own.

    Raises:
        Unauthenticated: it was revoked, rotated or narrowed, or has expired.
        Forbidden: it has terms of its own: what it gives would not count towards them.
    """
    if giver is None:
        return
    owned, terms = keys.tenant_keys(giver.owner), keys.key_terms(giver.owner, giver.id)
    await pipe.watch(owned, terms, keys.grants(giver.owner))
    digest = await pipe.hget(owned, giver.id)
    kept = await _kept_at(pipe, giver.digest)
    if kept is None or digest is None or digest.decode() != giver.digest:
        raise Unauthenticated("the API key was revoked or rotated meanwhile")
    if set(giver.scopes) - set(kept.scopes) or not _within(giver, kept):
        raise Unauthenticated(
            "the API key was changed meanwhile, and has less", hint="send the request again"
        )
    if giver.expires_ms is not None and giver.expires_ms <= await _now_ms(pipe):
        raise Unauthenticated("the API key has expired")
    if await pipe.exists(terms):
        raise Forbidden(
            "this API key has limits of its own and administers no keys: others would have none",
            hint="use a key without limits of its own",
        )


async def _tenant_for(
    pipe: Any, tenant: str, now: int, giver: KeyRecord | None
) -> list[TenantRecord]:
    """Give the tenant that is to be made with its first key, if it is; none if it is there."""
    known = TenantRecord.read(tenant, await pipe.hget(keys.TENANTS, tenant))
    if known is None:
        if giver is not None:
            raise no_such_tenant(tenant)
        await check_room(pipe)
        return [TenantRecord(name=tenant, created_ms=now)]
    known.check_not_deleted()
    return []


def _make_tenant(pipe: Any, tenant: str, now: int, record: TenantRecord) -> None:
    record.keep(pipe)
    inbox.record(pipe, leaf(LeafKind.TENANT_CREATED, tenant, tenant=tenant, at_ms=now, by=BY_CLI))


async def _grants_of(pipe: Any, giver: KeyRecord | None) -> bytes | None:
    if giver is None:
        return None
    found: bytes | None = await pipe.hget(keys.grants(giver.owner), giver.id)
    return found


async def _check_taking_over(pipe: Any, giver: KeyRecord | None, target: KeyRecord) -> None:
    if giver is None or (giver.id, giver.owner) == (target.id, target.tenant):
        return
    giver.check_giving(target.scopes, target.expires_ms)
    held = await _grants_of(pipe, giver)
    if held is not None and held != await pipe.hget(keys.grants(target.tenant), target.id):
        raise Forbidden(
            "this API key has grants of its own, and that key has others: nobody gives more than "
            "they have",
            hint="rotate it with a key that has no grants of its own",
        )


async def _find(pipe: Any, tenant: str, key_id: str) -> KeyRecord:
    digest = await pipe.hget(keys.tenant_keys(tenant), key_id)
    if digest is None:
        raise no_such_key(tenant, key_id)
    record = await _kept_at(pipe, digest)
    if record is None:
        raise WatchError("the key was rotated or revoked between two questions")
    return record


async def _kept_at(pipe: Any, digest: bytes | str) -> KeyRecord | None:
    """Give the record at a place; None where there is none, or only what leads to it."""
    text = await pipe.hget(keys.KEYS, digest)
    if text is None or "now" in orjson.loads(text):
        return None
    return KeyRecord.model_validate_json(text)


def no_such_key(tenant: str, key_id: str) -> NotFound:
    """Make the one answer to every id that is no key of this tenant."""
    return NotFound(f"tenant {tenant} has no key {key_id[:60]!a}")


def _changed(record: KeyRecord, change: KeyChange, tenant: str) -> KeyRecord:
    updates: dict[str, Any] = {}
    if change.name is not None:
        updates["name"] = change.name
    if change.scopes is not None:
        updates["scopes"] = check_scopes(tenant, change.scopes)
    if change.expires_ms is not None:
        updates["expires_ms"] = change.expires_ms or None
    if not updates:
        raise Invalid("name something to change: a name, scopes or an expiry", pointer="")
    return record.model_copy(update=updates)


def _within(after: KeyRecord, before: KeyRecord) -> bool:
    """Tell whether a key ends no later than before."""
    if before.expires_ms is None:
        return True
    return after.expires_ms is not None and after.expires_ms <= before.expires_ms


def _keep(pipe: Any, record: KeyRecord) -> None:
    pipe.hset(keys.KEYS, record.digest, record.model_dump_json())
    pipe.hset(keys.tenant_keys(record.tenant), record.id, record.digest)
    if record.previous is not None:
        # It leads to the record: what is changed there holds for the old secret as well.
        pointer = {"id": record.id, "tenant": record.tenant, "digest": record.previous}
        ends = {"now": record.digest, "expires_ms": record.previous_ends_ms}
        pipe.hset(keys.KEYS, record.previous, orjson.dumps(pointer | ends))


def _tell(pipe: Any, kind: LeafKind, record: KeyRecord, at_ms: int, **facts: Any) -> None:
    told = {
        "scopes": [str(one) for one in record.scopes],
        "sha256": record.digest,
        "expires_ms": record.expires_ms,
        "by": record.by,
    }
    inbox.record(pipe, leaf(kind, record.id, tenant=record.tenant, at_ms=at_ms, **told | facts))


def _by(giver: KeyRecord | None) -> str:
    return BY_CLI if giver is None else giver.id


async def _now_ms(pipe: Any) -> int:
    seconds, micros = await pipe.time()
    return int(seconds) * 1000 + int(micros) // 1000


@asynccontextmanager
async def redis_or_unavailable() -> AsyncIterator[None]:
    """Say that Redis failed in the words of this store."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("the key store cannot be reached; try again") from error
