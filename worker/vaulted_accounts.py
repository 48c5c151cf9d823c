"""
The accounts of a run's tenant: those of the vault, then those of the operator's accounts file.

Runs in: worker. Trusts: the accounts file; the vault as far as it opens.
Refuses: a vault that does not open, cannot be asked, or went back in time: no account is given
then, not even of the file. May import: integrations, tenancy, core, redis.

An account of the vault stands in place of one of the file with the same name, unless the tenant
itself wrote it: the operator's word counts. A tenant's address is checked again here, whatever was
checked when it was written, and leads to public hosts only. What was opened is kept for a minute,
and used only while the tenant's sealed state in Redis is what it was opened from: a change counts
from the next run on.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from core.errors import Unavailable
from integrations.account_fields import FieldWrong, canonical, check_account_name, wrapped
from integrations.accounts import Accounts, AccountsFile, Credentials
from tenancy.envelope import VaultDamaged
from tenancy.vault import Vault, VaultState
from tenancy.vault_records import Opened, Writer

if TYPE_CHECKING:
    from integrations.catalog import Catalog

_KEEP_S = 60.0
_MAX_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Cached:
    state: tuple[bytes, bytes]
    accounts: Accounts
    until_s: float


class VaultedAccounts:
    """Accounts by tenant. Owns nothing; the vault's connection is its maker's."""

    def __init__(self, vault: Vault, file: AccountsFile, catalog: Catalog) -> None:
        self._vault = vault
        self._file = file
        self._catalog = catalog
        self._cached: OrderedDict[str, _Cached] = OrderedDict()
        # What this process saw last of each tenant: its data key's id, and how far its index was.
        self._seen: dict[str, tuple[str, int]] = {}
        self._retired: set[str] = set()

    async def for_tenant(self, tenant: str | None, seen: VaultState | None = None) -> Accounts:
        """
        Give the accounts of a tenant as they are now, or were when its vault's state was `seen`.

        Raises:
            Unavailable: Redis or the master key is away.
            VaultDamaged: the tenant's vault does not open, or went back in time.
        """
        if tenant is None:
            return self._file.for_tenant(None)
        try:
            state = await self._vault.state(tenant) if seen is None else seen
            if state == (None, None):
                self._cached.pop(tenant, None)
                return self._file.for_tenant(tenant)
            return await self._vaulted(tenant, state)
        except (RedisError, OSError) as error:
            raise Unavailable("the vault cannot be reached") from error

    async def _vaulted(self, tenant: str, state: VaultState) -> Accounts:
        now_s = time.monotonic()
        self._forget_old(now_s)
        known = self._cached.get(tenant)
        if known is not None and known.state == state:
            return known.accounts
        opened_from, key_id, generation, opened = await self._vault.open_all(tenant)
        self._refuse_the_past(tenant, key_id, generation)
        accounts = self._merged(tenant, opened)
        self._cached[tenant] = _Cached(opened_from, accounts, now_s + _KEEP_S)
        self._cached.move_to_end(tenant)
        return accounts

    def _forget_old(self, now_s: float) -> None:
        while self._cached:
            oldest = next(iter(self._cached))
            if self._cached[oldest].until_s > now_s and len(self._cached) <= _MAX_KEPT:
                return
            del self._cached[oldest]

    def _refuse_the_past(self, tenant: str, key_id: str, generation: int) -> None:
        last_id, last_generation = self._seen.get(tenant, (key_id, 0))
        if key_id in self._retired or (key_id == last_id and generation < last_generation):
            raise VaultDamaged(
                "a tenant's vault is older than it was",
                hint="if Redis was restored from a copy, restart the workers",
            )
        if key_id != last_id:
            self._retired.add(last_id)
        self._seen[tenant] = (key_id, generation)

    def _merged(self, tenant: str, opened: list[Opened]) -> Accounts:
        found = {}
        file = self._file.for_tenant(tenant)
        for integration in self._catalog.integrations:
            for name in file.names(integration):
                found[integration, name] = file.get(integration, name)
        for one in opened:
            place = (one.integration, one.account)
            if one.set_by is Writer.TENANT and place in found:
                continue
            found.pop(place, None)  # what does not fit must not let the file's account through
            credentials = self._credentials(one)
            if credentials is not None:
                found[place] = credentials
        return Accounts(found.values())

    def _credentials(self, one: Opened) -> Credentials | None:
        integration = self._catalog.integrations.get(one.integration)
        if integration is None or integration.pack is None:
            return None
        by_tenant = one.set_by is not Writer.OPERATOR
        try:
            check_account_name(integration, one.account)
            given = canonical(integration.pack, one.values, by_tenant=by_tenant)
            values = wrapped(integration.pack, given)
        except FieldWrong as wrong:
            structlog.get_logger(__name__).warning(
                "account_unusable",
                integration=one.integration,
                account=one.account,
                field=wrong.field,
                problem=str(wrong),
            )
            return None
        return Credentials(one.integration, one.account, values, by_operator=not by_tenant)
