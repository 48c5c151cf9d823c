"""
API keys: who shows one, and which a tenant has. Their text is in `tenancy.key_text`.

One script of Redis, one round trip, tells who shows a key: its record, whether its tenant is
suspended, and what time it is by Redis' clock, the one by which keys expire on every host.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson
from redis.exceptions import NoScriptError

from core import keys
from core.clock import Clock, now_ms
from core.errors import Forbidden, NotFound, Unauthenticated
from tenancy.key_changes import KeyChanges, no_such_key, redis_or_unavailable
from tenancy.key_record import KeyRecord
from tenancy.key_text import digest_of, is_well_formed, new_plain_key
from tenancy.tenants import check_tenant

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["KeyRecord", "KeyStore", "digest_of", "is_well_formed", "new_plain_key"]


class _Script:
    """One of our scripts of Redis, sent whole only to a server that does not know it."""

    def __init__(self, name: str) -> None:
        self._text = (Path(__file__).parent / f"{name}.lua").read_text("utf-8")
        self._sha1 = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Redis, *args: str) -> Any:
        """Give what the script gives; `RedisError` when Redis did not answer."""
        try:
            return await cast("Any", redis.evalsha(self._sha1, 0, *args))
        except NoScriptError:
            return await cast("Any", redis.eval(self._text, 0, *args))


_AUTHENTICATE = _Script("authenticate")
_RECORDS_OF = _Script("records_of")


class KeyStore(KeyChanges):
    """The keys of all tenants: one Redis hash from digest to record, and an index a tenant."""

    def __init__(self, redis: Redis, clock: Clock = now_ms) -> None:
        super().__init__(redis, clock)

    async def authenticate(self, plain: str, acting_for: str | None = None) -> KeyRecord:
        """
        Turn a key into its record; an operator's into one of the tenant that it acts for.

        Raises:
            Unauthenticated: not one of ours, revoked, expired, or mistyped.
            Forbidden: its tenant is suspended, or it may not act for another.
            NotFound: an operator's key is to act for a tenant that there is not.
            Invalid: `acting_for` is no tenant name.
            Unavailable: Redis could not be asked; nobody is let in.
        """
        if not is_well_formed(plain):
            raise Unauthenticated(
                "the API key is malformed: its checksum does not match",
                hint="copy the whole key, from ms_live_ to the last of its 58 characters",
            )
        if acting_for is not None:
            check_tenant(acting_for)
        digest = digest_of(plain)
        async with redis_or_unavailable():
            found = await _AUTHENTICATE.run(self._redis, digest, acting_for or "")
        if found is None:
            raise _unknown()
        shown, kept, at_ms, suspended, other = found
        record = _record_of(digest, shown, kept, int(at_ms))
        if acting_for is None or acting_for == record.tenant:
            _refuse_suspended(record, suspended)
            return record
        if not record.is_operators:
            # The same words whether there is such a tenant or not.
            raise Forbidden("this API key acts for its own tenant only")
        if other is None or b"deleted_ms" in other:
            raise NotFound(f"there is no tenant {acting_for}")
        return record.acting_for(acting_for)

    async def get(self, tenant: str, key_id: str) -> KeyRecord:
        """
        Give one key of a tenant.

        Raises:
            NotFound: the tenant has no such key.
            Unavailable: Redis could not be asked.
        """
        check_tenant(tenant)
        # An empty id would ask for all.
        found = await self._records(tenant, key_id) if key_id else []
        if not found:
            raise no_such_key(tenant, key_id)
        return found[0]

    async def all(self, tenant: str) -> list[KeyRecord]:
        """
        Give the tenant's keys, oldest first.

        Raises:
            Invalid: no tenant name.
            Unavailable: Redis could not be asked.
        """
        check_tenant(tenant)
        return sorted(await self._records(tenant, ""), key=lambda record: record.id)

    async def last_uses(self, tenant: str, key_ids: Sequence[str]) -> dict[str, int]:
        """
        Give when keys were last used, to the minute, in Unix milliseconds; only those that were.

        Raises:
            Unavailable: Redis could not be asked.
        """
        if not key_ids:
            return {}
        async with redis_or_unavailable():
            found = await cast(
                "Awaitable[list[bytes | None]]",
                self._redis.hmget(keys.key_uses(tenant), list(key_ids)),
            )
        both = zip(key_ids, found, strict=True)
        return {key_id: int(at_ms) for key_id, at_ms in both if at_ms is not None}

    async def _records(self, tenant: str, key_id: str) -> list[KeyRecord]:
        async with redis_or_unavailable():
            rows = await _RECORDS_OF.run(self._redis, tenant, key_id)
        return [KeyRecord.model_validate_json(row) for row in rows if row is not None]


def _record_of(digest: str, shown: bytes, kept: bytes | None, at_ms: int) -> KeyRecord:
    """Give the record that a secret opens: its own, or the one that took its place."""
    if kept is None:
        record = KeyRecord.model_validate_json(shown)
        # The record names its own digest: a record moved to another field opens nothing.
        mine = hmac.compare_digest(record.digest, digest)
    else:
        pointer = orjson.loads(shown)
        record = KeyRecord.model_validate_json(kept)
        mine = hmac.compare_digest(record.previous or "", digest)
        mine = mine and pointer["digest"] == digest and pointer["id"] == record.id
        if mine and (record.previous_ends_ms or 0) <= at_ms:
            raise Unauthenticated(
                "the API key was rotated, and its grace period is over",
                hint="use the text that the rotation gave",
            )
        record = record.as_replaced()
    if not mine:
        raise _unknown()
    if record.expires_ms is not None and record.expires_ms <= at_ms:
        raise Unauthenticated("the API key has expired", hint="ask for another one")
    return record


def _refuse_suspended(record: KeyRecord, suspended: bytes | None) -> None:
    if suspended is not None:
        raise Forbidden(
            f"tenant {record.tenant} is suspended: its keys open nothing, and nothing of it is "
            "started",
            hint="ask who runs this service",
        )


def _unknown() -> Unauthenticated:
    return Unauthenticated("the API key is unknown or was revoked")
