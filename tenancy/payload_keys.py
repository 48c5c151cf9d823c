"""
Payloads of the ledger's archive, sealed with a data key of their tenant.

Runs in: sequencer, CLI. Trusts: its master keys. Refuses: to open what was changed or moved to
another payload or tenant. May import: stdlib, core, ledger, tenancy.

The data keys stand wrapped in the archive, one a tenant: without it, and without the master key
that wraps it, nothing of the tenant's payloads can be read, while every proof still holds. They are
not the keys of the vault's accounts: erasing credentials leaves the archive readable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tenancy.envelope import DataKey, seal_bytes, unseal_bytes
from tenancy.master_keys import MasterKeys

if TYPE_CHECKING:
    from ledger.archive import Archive, Payload


class KeyRecords(Protocol):
    """Whatever has the wrapped data keys of tenants, as every archive does."""

    def data_keys(self) -> dict[str, bytes]:
        """Give the wrapped data key of every tenant that has one."""
        ...


class PayloadSealer:
    """Seals for the sequencer; makes a tenant's data key when its first payload comes."""

    def __init__(self, archive: Archive, masters: MasterKeys) -> None:
        self._archive = archive
        self._masters = masters
        self._keys: dict[str, DataKey] = {}
        self._epoch = 0

    def begin(self, epoch: int) -> None:
        """
        Open every data key, and wrap those anew that another master key wraps.

        Raises:
            NoSuchMasterKey, VaultDamaged: one does not open.
        """
        self._epoch = epoch
        self._keys = {
            tenant: DataKey.unwrap(tenant, record, self._masters)
            for tenant, record in self._archive.data_keys().items()
        }
        for tenant, key in self._keys.items():
            if key.master != self._masters.current:
                self._archive.keep_data_key(epoch, tenant, key.wrap(self._masters))

    def seal(self, tenant: str, payload_id: str, data: bytes) -> tuple[str, bytes]:
        """Give the data key's id and the sealed bytes."""
        key = self._keys.get(tenant)
        if key is None:
            key = DataKey.new(tenant, self._masters)
            self._archive.keep_data_key(self._epoch, tenant, key.wrap(self._masters))
            self._keys[tenant] = key
        return key.id, seal_bytes(key.key, data, _place(tenant, key, payload_id))


class PayloadReader:
    """Opens payloads, sealed or not. `masters` None opens those in the clear only."""

    def __init__(self, archive: KeyRecords, masters: MasterKeys | None) -> None:
        self._archive = archive
        self._masters = masters

    def open(self, payload: Payload) -> bytes | None:
        """
        Give a payload's bytes; None when its tenant's key was destroyed or no master key is here.

        Raises:
            NoSuchMasterKey, VaultDamaged: the key or the payload does not open.
        """
        if not payload.key_id:
            return payload.data
        record = self._archive.data_keys().get(payload.tenant)
        if record is None or self._masters is None:
            return None
        key = DataKey.unwrap(payload.tenant, record, self._masters)
        if key.id != payload.key_id:
            return None
        return unseal_bytes(key.key, payload.data, _place(payload.tenant, key, payload.id))


def _place(tenant: str, key: DataKey, payload_id: str) -> tuple[str | int, ...]:
    return ("payload", tenant, key.id, payload_id)
