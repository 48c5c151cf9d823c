"""
API keys: `ms_live_<43 base-62 digits>_<6 base-62 digits of CRC-32>`.

The 43 digits hold 256 random bits, so one SHA-256 at rest is enough: there is nothing to guess
at. The checksum finds a cut or mistyped key without asking Redis and lets secret scanners be
sure. The key itself is given out once, at creation; only its digest and last four characters stay.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, field_validator
from redis.exceptions import RedisError

from core import keys
from core.clock import Clock, now_ms
from core.errors import Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from core.ids import new_id
from ledger import inbox
from ledger.leaves import LeafKind, leaf
from tenancy.scopes import DEFAULT_SCOPES, Scope
from tenancy.tenants import check_tenant

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PREFIX = "ms_live_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS = 43  # 62 ** 43 > 2 ** 256
_CRC_DIGITS = 6  # 62 ** 6 > 2 ** 32
_SHAPE = re.compile(rf"({_PREFIX}[0-9A-Za-z]{{{_SECRET_DIGITS}}})_([0-9A-Za-z]{{{_CRC_DIGITS}}})")
MAX_NAME_CHARS = 80


class KeyRecord(BaseModel):
    """What is kept of a key. `created_ms` is Unix milliseconds."""

    model_config = ConfigDict(frozen=True)

    id: str
    tenant: str
    name: str
    scopes: tuple[Scope, ...] = DEFAULT_SCOPES
    last4: str
    created_ms: int
    digest: str

    @field_validator("scopes", mode="before")
    @classmethod
    def _only_known(cls, given: Any) -> Any:
        # A later version may have given a scope that this one does not know: it opens nothing
        # here, and the others still do.
        known = {scope.value for scope in Scope}
        return [one for one in given if one in known] if isinstance(given, list) else given

    def require(self, scope: Scope) -> None:
        """
        Refuse what this key may not do.

        Raises:
            Forbidden: the key lacks `scope`.
        """
        if scope not in self.scopes:
            raise Forbidden(
                f"this API key lacks the scope {scope}; it has {', '.join(self.scopes) or 'none'}",
                hint=f"make a key with that scope: moonsand keys create --scope {scope}",
            )


class KeyStore:
    """The keys of all tenants, in one Redis hash from digest to record."""

    def __init__(self, redis: Redis, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._clock = clock

    async def create(
        self, tenant: str, name: str, *, scopes: Iterable[Scope] = DEFAULT_SCOPES
    ) -> tuple[str, KeyRecord]:
        """
        Make a key; the text is given here and never again.

        Raises:
            Invalid: no tenant name, or `name` is empty, too long or not printable.
            Unavailable: Redis did not confirm.
        """
        check_tenant(tenant)
        if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise Invalid(f"a key's name must be 1 to {MAX_NAME_CHARS} printable characters")
        plain = new_plain_key()
        now = self._clock()
        record = KeyRecord(
            id=new_id("key", now_ms=now),
            tenant=tenant,
            name=name,
            scopes=tuple(dict.fromkeys(scopes)),
            last4=plain[-4:],
            created_ms=now,
            digest=digest_of(plain),
        )
        async with _redis_or_unavailable():
            pipe = self._redis.pipeline(transaction=True)
            pipe.hsetnx(keys.TENANTS, tenant, f'{{"created_ms":{now}}}')
            pipe.hset(keys.KEYS, record.digest, record.model_dump_json())
            pipe.hset(keys.tenant_keys(tenant), record.id, record.digest)
            inbox.record(pipe, _leaf(LeafKind.KEY_CREATED, record, now))
            await pipe.execute()
        return plain, record

    async def authenticate(self, plain: str) -> KeyRecord:
        """
        Turn a key into its record.

        Raises:
            Unauthenticated: not one of ours, revoked, or mistyped.
            Unavailable: Redis could not be asked; nobody is let in.
        """
        if not is_well_formed(plain):
            raise Unauthenticated(
                "the API key is malformed: its checksum does not match",
                hint="copy the whole key, from ms_live_ to the last of its 58 characters",
            )
        digest = digest_of(plain)
        async with _redis_or_unavailable():
            found = await self._redis.hget(keys.KEYS, digest)
        if found is None:
            raise Unauthenticated("the API key is unknown or was revoked")
        record = KeyRecord.model_validate_json(found)
        # The record names its own digest: a record moved to another field opens nothing.
        if not hmac.compare_digest(record.digest, digest):
            raise Unauthenticated("the API key is unknown or was revoked")
        return record

    async def all(self, tenant: str) -> list[KeyRecord]:
        """
        Give the tenant's keys, oldest first.

        Raises:
            Unavailable: Redis could not be asked.
        """
        async with _redis_or_unavailable():
            rows = [row async for _, row in self._redis.hscan_iter(keys.KEYS, count=500)]
        # A scan may give a field twice.
        records = {record.id: record for record in map(KeyRecord.model_validate_json, rows)}
        return sorted(
            (record for record in records.values() if record.tenant == tenant),
            key=lambda record: record.id,
        )

    async def revoke(self, tenant: str, key_id: str) -> KeyRecord:
        """
        End a key at once; requests that were already let in go on.

        Raises:
            NotFound: the tenant has no such key.
            Unavailable: Redis did not confirm.
        """
        for record in await self.all(tenant):
            if record.id == key_id:
                async with _redis_or_unavailable():
                    pipe = self._redis.pipeline(transaction=True)
                    pipe.hdel(keys.KEYS, record.digest)
                    pipe.hdel(keys.tenant_keys(tenant), record.id)
                    pipe.hdel(keys.grants(tenant), record.id)
                    pipe.delete(keys.key_terms(tenant, record.id))
                    inbox.record(pipe, _leaf(LeafKind.KEY_REVOKED, record, self._clock()))
                    await pipe.execute()
                return record
        raise NotFound(f"tenant {tenant} has no key {key_id[:60]!a}")


def _leaf(kind: LeafKind, record: KeyRecord, at_ms: int) -> bytes:
    facts = {"scopes": [str(one) for one in record.scopes], "sha256": record.digest}
    return leaf(kind, record.id, tenant=record.tenant, at_ms=at_ms, **facts)


def new_plain_key() -> str:
    """Make the text of a new key: 256 random bits and their checksum."""
    body = _PREFIX + _base62(secrets.randbits(256), _SECRET_DIGITS)
    return f"{body}_{_checksum(body)}"


def is_well_formed(plain: str) -> bool:
    """Tell whether `plain` has the shape and the checksum of a key."""
    found = _SHAPE.fullmatch(plain)
    return found is not None and hmac.compare_digest(found[2], _checksum(found[1]))


def digest_of(plain: str) -> str:
    """Give the hexadecimal SHA-256 under which a key is stored."""
    return hashlib.sha256(plain.encode()).hexdigest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CRC_DIGITS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


@asynccontextmanager
async def _redis_or_unavailable() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("the key store cannot be reached; try again") from error
