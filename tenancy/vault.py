"""
The credential vault: accounts of tenants in Redis, sealed.

Runs in: worker, CLI. Trusts: its master keys; of Redis only that it keeps bytes.
Refuses: to work without a master key; what was changed, moved, or put back from an earlier time.
May import: stdlib, redis, core, ledger, tenancy.

Each tenant has a data key (wrapped with a master key), a sealed index (which accounts there are,
at which version) and one sealed entry an account. All writes of a tenant are one transaction that
fails when its key or index changed meanwhile, and is tried again. A version is the index's
generation at the write: it only grows, also over deletions, so that no version is used twice.
Who wrote an account stands in the sealed index and in what the entry is sealed for: an account
of a tenant cannot be passed off as the operator's, whose addresses may be private.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError, WatchError

from core import keys
from core.clock import now_ms
from core.errors import Conflict, Invalid, NotFound, Unavailable
from ledger import inbox
from ledger.leaves import LeafKind, leaf
from tenancy.envelope import DataKey, VaultDamaged, seal, unseal
from tenancy.master_keys import MasterKeys
from tenancy.tenants import check_tenant
from tenancy.vault_records import Index, Kept, Opened, Writer, kept_of, place_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_ACCOUNTS = 256
MAX_FIELDS = 32
MAX_VALUE_BYTES = 8_192
_TRIES = 50

#: A tenant's wrapped data key and sealed index.
VaultState = tuple[bytes | None, bytes | None]


class Vault:
    """All accounts of all tenants. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, masters: MasterKeys | None) -> None:
        self._redis = redis
        self._masters_or_none = masters

    async def set(
        self,
        tenant: str,
        integration: str,
        account: str,
        values: Mapping[str, str],
        by: Writer = Writer.OPERATOR,
    ) -> Kept:
        """
        Keep an account, instead of the one of this name if there is one.

        Raises:
            Invalid: no tenant name, no value, or too many or too long ones.
            Conflict: the tenant has all that it may have, or would replace the operator's.
            Unavailable: the vault is off, or Redis did not confirm.
            VaultDamaged: what the tenant has does not open; nothing was written.
        """
        check_tenant(tenant)
        _check_size(values)
        name = f"{integration}.{account}"

        def change(key: DataKey, index: Index, pipe: Any) -> Kept:
            _leave_the_operators(index, name, by)
            if name not in index.accounts and len(index.accounts) >= MAX_ACCOUNTS:
                raise Conflict(f"the tenant has {MAX_ACCOUNTS} accounts; no more are taken")
            stamp = time.time_ns() // 1_000_000
            one = {"version": index.generation, "fields": [*values], "set_ms": stamp, "by": by}
            index.accounts[name] = one
            kept = kept_of(name, one)
            pipe.hset(
                keys.vault_accounts(tenant),
                name,
                seal(key.key, dict(values), place_of(tenant, kept)),
            )
            facts = {"version": kept.version, "fields": [*values], "by": str(by)}
            _tell(pipe, LeafKind.CREDENTIAL_SET, tenant, name, **facts)
            return kept

        return cast("Kept", await self._change(tenant, change, create=True))

    async def delete(
        self, tenant: str, integration: str, account: str, by: Writer = Writer.OPERATOR
    ) -> None:
        """
        Forget an account.

        Raises:
            NotFound: the tenant has no such account in the vault.
            Conflict: a tenant would delete the operator's.
            Unavailable, VaultDamaged: as `set`.
        """
        name = f"{integration}.{account}"

        def change(_key: DataKey, index: Index, pipe: Any) -> None:
            _leave_the_operators(index, name, by)
            if index.accounts.pop(name, None) is None:
                raise _no_account(tenant)
            pipe.hdel(keys.vault_accounts(tenant), name)
            _tell(pipe, LeafKind.CREDENTIAL_DELETED, tenant, name, by=str(by))

        await self._change(tenant, change, create=False)

    async def accounts(self, tenant: str) -> list[Kept]:
        """
        Give what may be shown of a tenant's accounts; no account is opened for it.

        Raises:
            Unavailable, VaultDamaged: as `set`.
        """
        async with _redis_or_unavailable():
            record, sealed = await self.state(tenant)
        if record is None and sealed is None:
            return []
        _, index = self._open(tenant, record, sealed)
        return index.kept()

    async def erase(self, tenant: str) -> bool:
        """
        Destroy a tenant's data key, and with it every account; needs no master key.

        Gives False when the tenant had none.

        Raises:
            Unavailable: Redis did not confirm.
        """
        check_tenant(tenant)
        async with _redis_or_unavailable():
            pipe = self._redis.pipeline(transaction=True)
            pipe.delete(keys.vault_key(tenant))
            pipe.delete(keys.vault_index(tenant), keys.vault_accounts(tenant))
            pipe.srem(keys.VAULTS, tenant)
            _tell(pipe, LeafKind.CREDENTIALS_ERASED, tenant, tenant)
            gone, *_ = await pipe.execute()
        return bool(gone)

    async def rotate(self) -> tuple[int, int]:
        """
        Wrap every data key with the current master key; accounts stay as they are.

        Gives how many data keys were wrapped anew, and how many there are. Broken off, it can be
        run again.

        Raises:
            NoSuchMasterKey: one is wrapped with a key that is not given.
            Unavailable, VaultDamaged: as `set`.
        """
        masters = self._masters
        changed, tenants = 0, await self.tenants()
        for tenant in tenants:
            async with _redis_or_unavailable():
                changed += await self._rewrap(tenant, masters)
        return changed, len(tenants)

    async def rekey(self, tenant: str) -> int:
        """
        Give a tenant a new data key, and seal all its accounts with it; they keep their versions.

        What was copied from Redis before opens only with the key that is gone. Gives how many
        accounts were sealed anew.

        Raises:
            NotFound: the tenant has no data key.
            Unavailable, VaultDamaged: as `set`; nothing was changed.
        """
        masters = self._masters
        check_tenant(tenant)
        async with _redis_or_unavailable():
            for _ in range(_TRIES):
                async with self._transaction() as pipe:
                    await pipe.watch(keys.vault_key(tenant), keys.vault_index(tenant))
                    if await self.state(tenant) == (None, None):
                        raise NotFound(f"tenant {tenant} has no accounts in the vault")
                    _, _, index, opened = await self._open_all(tenant)
                    key = DataKey.new(tenant, masters)
                    index.generation += 1
                    pipe.multi()
                    pipe.delete(keys.vault_accounts(tenant))
                    for one in opened:
                        sealed = seal(key.key, dict(one.values), place_of(tenant, one))
                        name = f"{one.integration}.{one.account}"
                        pipe.hset(keys.vault_accounts(tenant), name, sealed)
                    pipe.set(keys.vault_key(tenant), key.wrap(masters))
                    pipe.set(keys.vault_index(tenant), index.sealed(key))
                    _tell(pipe, LeafKind.VAULT_REWRAPPED, tenant, tenant, data_key=key.id)
                    try:
                        await pipe.execute()
                    except WatchError:
                        continue
                    return len(opened)
        raise Unavailable("others changed this tenant's accounts all the time", hint="try again")

    async def tenants(self) -> list[str]:
        """Give the tenants that have a data key."""
        async with _redis_or_unavailable():
            found = await cast("Awaitable[set[bytes]]", self._redis.smembers(keys.VAULTS))
        return sorted(one.decode() for one in found)

    async def check(self) -> None:
        """
        See that every data key opens here.

        Raises:
            Unavailable: there are some and no master key is given, or not the right one.
            VaultDamaged: one does not open.
        """
        for tenant in await self.tenants():
            async with _redis_or_unavailable():
                record, _ = await self.state(tenant)
            if record is not None:
                DataKey.unwrap(tenant, record, self._masters)

    async def state(self, tenant: str) -> VaultState:
        """Give the state of a tenant's vault as it stands in Redis."""
        found: Any = await self._redis.mget(keys.vault_key(tenant), keys.vault_index(tenant))
        return found[0], found[1]

    async def open_all(self, tenant: str) -> tuple[tuple[bytes, bytes], str, int, list[Opened]]:
        """
        Open every account of a tenant that has some.

        Gives its state as `state` does, the data key's id, the index's generation, the accounts.

        Raises:
            Unavailable, VaultDamaged: as `set`. Either all are given or none.
        """
        state, key, index, opened = await self._open_all(tenant)
        return state, key.id, index.generation, opened

    # --- parts ---------------------------------------------------------------------------------

    async def _open_all(
        self, tenant: str
    ) -> tuple[tuple[bytes, bytes], DataKey, Index, list[Opened]]:
        pipe = self._redis.pipeline(transaction=True)
        pipe.mget(keys.vault_key(tenant), keys.vault_index(tenant))
        pipe.hgetall(keys.vault_accounts(tenant))
        (record, sealed_index), entries = await pipe.execute()
        key, index = self._open(tenant, record, sealed_index)
        opened = []
        for kept in index.kept():
            sealed = entries.get(f"{kept.integration}.{kept.account}".encode())
            if sealed is None:
                raise VaultDamaged("an account that the vault's index names is missing")
            values = unseal(key.key, sealed, place_of(tenant, kept))
            one = Opened(kept.integration, kept.account, kept.version, kept.set_by, values)
            opened.append(one)
        return (record, sealed_index), key, index, opened

    @property
    def _masters(self) -> MasterKeys:
        if self._masters_or_none is None:
            raise Unavailable(
                "the credential vault is off: no master key is given",
                hint="set MOONSAND_VAULT_KEYS_FILE; `moonsand credentials keygen` makes a key",
            )
        return self._masters_or_none

    def _open(
        self, tenant: str, record: bytes | None, sealed: bytes | None
    ) -> tuple[DataKey, Index]:
        masters = self._masters
        if record is None or sealed is None:
            raise VaultDamaged("a part of a tenant's vault is missing")
        key = DataKey.unwrap(tenant, record, masters)
        return key, Index(**unseal(key.key, sealed, ("index", tenant, key.id)))

    async def _change(
        self,
        tenant: str,
        change: Callable[[DataKey, Index, Any], Kept | None],
        *,
        create: bool,
    ) -> Kept | None:
        masters = self._masters
        async with _redis_or_unavailable():
            for _ in range(_TRIES):
                async with self._transaction() as pipe:
                    await pipe.watch(keys.vault_key(tenant), keys.vault_index(tenant))
                    record, sealed = await self.state(tenant)
                    if record is None and sealed is None:
                        if not create:
                            raise _no_account(tenant)
                        key, index = DataKey.new(tenant, masters), Index(0, {})
                    else:
                        key, index = self._open(tenant, record, sealed)
                    pipe.multi()
                    index.generation += 1
                    made = change(key, index, pipe)
                    if record is None:
                        pipe.set(keys.vault_key(tenant), key.wrap(masters))
                        pipe.sadd(keys.VAULTS, tenant)
                    pipe.set(keys.vault_index(tenant), index.sealed(key))
                    try:
                        await pipe.execute()
                    except WatchError:
                        continue
                    return made
        raise Unavailable("others changed this tenant's accounts all the time", hint="try again")

    def _transaction(self) -> Any:
        return self._redis.pipeline(transaction=True)

    async def _rewrap(self, tenant: str, masters: MasterKeys) -> bool:
        for _ in range(_TRIES):
            async with self._transaction() as pipe:
                await pipe.watch(keys.vault_key(tenant))
                record, _index = await self.state(tenant)
                if record is None:
                    return False  # erased meanwhile
                key = DataKey.unwrap(tenant, record, masters)
                if key.master == masters.current:
                    return False
                pipe.multi()
                pipe.set(keys.vault_key(tenant), key.wrap(masters))
                _tell(pipe, LeafKind.VAULT_REWRAPPED, tenant, tenant, master=masters.current)
                try:
                    await pipe.execute()
                except WatchError:
                    continue
                return True
        raise Unavailable("a tenant's data key changed all the time", hint="try again")


def _tell(pipe: Any, kind: LeafKind, tenant: str, subject: str, **facts: Any) -> None:
    inbox.record(pipe, leaf(kind, subject, tenant=tenant, at_ms=now_ms(), **facts))


def _leave_the_operators(index: Index, name: str, by: Writer) -> None:
    there = index.accounts.get(name)
    if by is Writer.TENANT and there is not None and there["by"] == Writer.OPERATOR:
        raise Conflict(
            "the operator keeps this account; a tenant can neither replace nor delete it",
            hint="choose another account name, or ask the operator",
        )


def _no_account(tenant: str) -> NotFound:
    return NotFound(f"tenant {tenant} has no such account in the vault")


def _check_size(values: Mapping[str, str]) -> None:
    if not 1 <= len(values) <= MAX_FIELDS:
        raise Invalid(f"an account has 1 to {MAX_FIELDS} fields")
    for name, value in values.items():
        size = len(value.encode("utf-8", "surrogatepass"))
        if size > MAX_VALUE_BYTES:
            raise Invalid(f"{name} has {size} bytes; at most {MAX_VALUE_BYTES} are allowed")


@asynccontextmanager
async def _redis_or_unavailable() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("the vault cannot be reached; try again") from error
