"""
Terms: how much a tenant, and each of its keys, may use.

They are plain integers in one hash of Redis, `ms:terms:<tenant>`, and for a key
`ms:terms:<tenant>:<key id>`; the scripts that accept and start runs read them there. A term that
is absent is the deployment's default, or no limit; those of a key come on top of its tenant's and
widen nothing.

| name | counts |
|---|---|
| `weight` | share of the workers against other tenants; of a tenant only |
| `concurrent_runs`, `queued_runs` | runs at the same moment |
| `runs_per_minute`, `runs_per_day` | runs accepted in any 60 seconds, in any 24 hours |
| `instructions_per_minute`, `instructions_per_day` | their instructions: the limit until they end |
| `stored_bytes` | bytes kept in Redis for its runs |
| `calls_per_minute.<integration>` | requests sent to one integration in any 60 seconds |
| `ceiling.<limit>` | the most that a run may ask for of a limit, in the limit's own unit |
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError, WatchError

from core import keys
from core.clock import Clock, now_ms
from core.errors import Conflict, Invalid, NotFound, Unavailable
from ledger import inbox
from ledger.leaves import LeafKind, leaf
from sandbox.limits import SPECS
from tenancy.key_changes import watch_giver
from tenancy.key_record import KeyRecord
from tenancy.tenant_record import TenantRecord, no_such_tenant
from tenancy.tenants import OPERATOR, check_tenant

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Before the name of an integration: calls to it, a minute.
CALLS_PER_MINUTE = "calls_per_minute."
#: Before the name of a limit of a run: the most that may be asked for.
CEILING = "ceiling."
#: Not a term: Unix millisecond since which the tenant is suspended, in the same hash of the tenant.
SUSPENDED = "suspended_ms"
#: Terms that one tenant or one key may have.
MAX_TERMS = 128
_MAX_COUNT = 10**9
_MAX_SUM = 10**15  # Redis' scripts count in doubles: exact to 2 ** 53
_INTEGRATION = re.compile(r"(?:mcp\.)?[a-z][a-z0-9_-]{0,63}")
_TRIES = 8


@dataclass(frozen=True, slots=True)
class TermSpec:
    """What is known of one term; `of_keys` tells whether a key may have it."""

    unit: str
    minimum: int
    maximum: int
    meaning: str
    of_keys: bool = True


TERMS: dict[str, TermSpec] = {
    "weight": TermSpec("turns", 1, 100, "share of the workers against other tenants", False),
    "concurrent_runs": TermSpec("runs", 1, 1_000_000, "runs at once, over all workers"),
    "queued_runs": TermSpec("runs", 1, _MAX_COUNT, "runs that are queued or wait"),
    "runs_per_minute": TermSpec("runs", 1, _MAX_COUNT, "runs accepted in any 60 seconds"),
    "runs_per_day": TermSpec("runs", 1, _MAX_COUNT, "runs accepted in any 24 hours"),
    "instructions_per_minute": TermSpec(
        "instructions", 1, _MAX_SUM, "instructions of runs of any 60 seconds"
    ),
    "instructions_per_day": TermSpec(
        "instructions", 1, _MAX_SUM, "instructions of runs of any 24 hours"
    ),
    "stored_bytes": TermSpec("bytes", 1, _MAX_SUM, "bytes kept for its runs"),
}


def spec_of(name: str) -> TermSpec | None:
    """Give what is known of a term; None when no term has this name."""
    if name.startswith(CALLS_PER_MINUTE):
        integration = name.removeprefix(CALLS_PER_MINUTE)
        if _INTEGRATION.fullmatch(integration) is None:
            return None
        return TermSpec("calls", 1, _MAX_COUNT, f"requests to {integration} in any 60 seconds")
    limit = SPECS.get(name.removeprefix(CEILING)) if name.startswith(CEILING) else None
    if limit is not None:
        meaning = f"the most of {name.removeprefix(CEILING)} that a run may ask for"
        return TermSpec(limit.unit, limit.minimum, limit.maximum, meaning)
    return TERMS.get(name)


def check_term(name: str, value: object, *, of_key: bool = False) -> int:
    """
    Give a term's value back if it may be kept.

    Raises:
        Invalid: no such term, not for a key, no whole number, or out of its range.
    """
    pointer = f"/{name[:60]}".replace("~", "~0") if name.isascii() else ""
    spec = spec_of(name)
    if spec is None:
        raise Invalid(f"there is no limit {name[:60]!a}; {_nearest(name)}", pointer=pointer)
    if of_key and not spec.of_keys:
        raise Invalid(f"{name} is a limit of tenants only", pointer=pointer)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid(f"{name} must be a whole number of {spec.unit}", pointer=pointer)
    if not spec.minimum <= value <= spec.maximum:
        raise Invalid(
            f"{name} must be {spec.minimum} to {spec.maximum} {spec.unit}, not {str(value)[:24]}",
            pointer=pointer,
            hint="to let a tenant start nothing, suspend it" if value == 0 else None,
        )
    return value


class TermsStore:
    """The terms of all tenants. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._clock = clock

    async def get(self, tenant: str, key_id: str | None = None) -> dict[str, int]:
        """
        Give the terms that are kept, by name; empty when there are none.

        Raises:
            Invalid: no tenant name.
            Unavailable: Redis could not be asked.
        """
        check_tenant(tenant)
        async with _redis_or_unavailable():
            found = await cast(
                "Awaitable[dict[bytes, bytes]]", self._redis.hgetall(_hash(tenant, key_id))
            )
        return read_terms(found)

    async def set(
        self,
        tenant: str,
        key_id: str | None,
        changes: Mapping[str, int | None],
        *,
        by: str,
        giver: KeyRecord | None = None,
    ) -> dict[str, int]:
        """
        Change some terms of a tenant, or of one of its keys, and give all that hold then.

        Args:
            tenant: whose.
            key_id: of which key; None for the tenant itself.
            changes: new values by name; None removes a term. Terms not named stay.
            by: id of the key that asked for it, or `cli`.
            giver: that key; it must still be there, and have no terms of its own.

        Raises:
            Forbidden: the giver has terms of its own.
            Unauthenticated: the giver was revoked meanwhile.
            Invalid: a name or a value; nothing was changed. Nothing was named, or the operator.
            NotFound: there is no such tenant, or it has no such key.
            Conflict: the tenant was deleted, or more than `MAX_TERMS` would be kept.
            Unavailable: Redis did not confirm.
        """
        check_tenant(tenant)
        if tenant == OPERATOR:
            # Its keys act for tenants, where limits of its own would not be looked for.
            raise Invalid("keys of the operator have no limits of their own", hint="give scopes")
        _check(changes, of_key=key_id is not None)
        entry = leaf(
            LeafKind.LIMITS_CHANGED,
            key_id or tenant,
            tenant=tenant,
            at_ms=self._clock(),
            by=by,
            limits=dict(changes),
        )
        async with _redis_or_unavailable():
            for _ in range(_TRIES):
                async with self._redis.pipeline(transaction=True) as pipe:
                    await watch_giver(pipe, giver)
                    after = await _begin(pipe, tenant, key_id, changes)
                    inbox.record(pipe, entry)
                    with suppress(WatchError):
                        await pipe.execute()
                        return after
        raise Unavailable("the limits are being changed by others; try again")


async def _begin(
    pipe: Any, tenant: str, key_id: str | None, changes: Mapping[str, int | None]
) -> dict[str, int]:
    """Put the changes into a MULTI that holds only if nothing changed since; give what is then."""
    where, owned = _hash(tenant, key_id), keys.tenant_keys(tenant)
    await pipe.watch(keys.TENANTS, owned, where)
    owner = TenantRecord.read(tenant, await pipe.hget(keys.TENANTS, tenant))
    if owner is None:
        raise no_such_tenant(tenant)
    owner.check_not_deleted()
    if key_id is not None and not await pipe.hexists(owned, key_id):
        raise NotFound(f"tenant {tenant} has no key {key_id[:60]!a}")
    after: dict[str, int | None] = {**read_terms(await pipe.hgetall(where)), **changes}
    kept = {name: value for name, value in sorted(after.items()) if value is not None}
    if len(kept) > MAX_TERMS:
        raise Conflict(f"a tenant or key has at most {MAX_TERMS} limits")
    pipe.multi()
    for name, value in changes.items():
        if value is None:
            pipe.hdel(where, name)
        else:
            pipe.hset(where, name, value)
    return kept


def _check(changes: Mapping[str, int | None], *, of_key: bool) -> None:
    if not 1 <= len(changes) <= MAX_TERMS:
        raise Invalid(f"name 1 to {MAX_TERMS} limits to change", pointer="")
    for name, value in changes.items():
        if value is not None or spec_of(name) is None:
            check_term(name, value, of_key=of_key)


def read_terms(found: Mapping[bytes, bytes]) -> dict[str, int]:
    """Read terms as Redis gives them; what is no term of ours is left out."""
    names = {field.decode("utf-8", "replace"): value for field, value in found.items()}
    return {
        name: int(value)
        for name, value in sorted(names.items())
        if spec_of(name) is not None and value.isdigit() and len(value) < 19
    }


def _hash(tenant: str, key_id: str | None) -> str:
    return keys.terms(tenant) if key_id is None else keys.key_terms(tenant, key_id)


def _nearest(name: str) -> str:
    known = [*TERMS, f"{CALLS_PER_MINUTE}<integration>", *(f"{CEILING}{one}" for one in SPECS)]
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


@asynccontextmanager
async def _redis_or_unavailable() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("the limits cannot be read or kept; try again") from error
