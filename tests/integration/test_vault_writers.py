"""Who wrote an account of the vault is kept with it, and decides where it may lead."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Conflict, NotFound
from integrations.accounts import AccountsFile
from integrations.pack import Pack
from tenancy.envelope import DataKey, VaultDamaged, seal, unseal
from tenancy.master_keys import MasterKeys, new_line
from tenancy.vault import Vault
from tenancy.vault_records import Writer
from tests.shipped import CATALOG
from worker.vaulted_accounts import VaultedAccounts

pytestmark = pytest.mark.anyio
MASTERS = MasterKeys.parse(new_line("one"))
MUX = {"token_id": "id", "token_secret": "canary-secret"}
CONVEX = {"deployment_url": "https://happy-otter-123.convex.cloud", "deploy_key": "canary-key"}
FILE = '[tenants.acme.mux.default]\ntoken_id = "file"\ntoken_secret = "file"\n'
LOCAL = "http://127.0.0.1:1"


def reader_of(vault: Vault, file: str = "") -> VaultedAccounts:
    """Read as a worker does."""
    return VaultedAccounts(vault, AccountsFile.parse(file, CATALOG, {}), CATALOG)


def pack_of(integration: str) -> Pack:
    """Give a shipped pack."""
    pack = CATALOG.integrations[integration].pack
    assert pack is not None
    return pack


async def test_only_the_operators_accounts_may_lead_here(redis_async: Redis) -> None:
    """The same address in the vault: the operator's account is local, a tenant's is none at all."""
    vault = Vault(redis_async, MASTERS)
    local = CONVEX | {"deployment_url": LOCAL}
    await vault.set("acme", "convex", "ours", local)
    await vault.set("acme", "convex", "theirs", local, Writer.TENANT)
    await vault.set("acme", "convex", "fine", CONVEX, Writer.TENANT)
    await vault.set("acme", "mux", "theirs", MUX | {"base_url": LOCAL}, Writer.TENANT)
    accounts = await reader_of(vault).for_tenant("acme")
    assert (accounts.names("convex"), accounts.names("mux")) == (["fine", "ours"], [])
    host = pack_of("convex").host
    assert accounts.get("convex", "ours").is_local(host)
    assert not accounts.get("convex", "fine").is_local(host)


async def test_a_tenant_cannot_take_the_operators_place(redis_async: Redis) -> None:
    """Neither in the vault nor in front of the accounts file; the operator may take a tenant's."""
    vault = Vault(redis_async, MASTERS)
    await vault.set("acme", "convex", "default", CONVEX)
    with pytest.raises(Conflict, match="operator"):
        await vault.set("acme", "convex", "default", CONVEX, Writer.TENANT)
    with pytest.raises(Conflict, match="operator"):
        await vault.delete("acme", "convex", "default", Writer.TENANT)
    await vault.set("acme", "mux", "default", MUX, Writer.TENANT)
    reader = reader_of(vault, FILE)
    assert (await reader.for_tenant("acme")).get("mux", "default").reveal("token_id") == "file"
    kept = await vault.set("acme", "mux", "default", MUX)
    assert kept.set_by is Writer.OPERATOR
    assert (await reader.for_tenant("acme")).get("mux", "default").reveal("token_id") == "id"


async def test_who_wrote_it_cannot_be_changed_from_outside(redis_async: Redis) -> None:
    """An index that calls a tenant's account the operator's does not open its entry."""
    vault = Vault(redis_async, MASTERS)
    await vault.set("acme", "convex", "default", CONVEX, Writer.TENANT)
    record, sealed = await vault.state("acme")
    assert record is not None
    assert sealed is not None
    key = DataKey.unwrap("acme", record, MASTERS)
    place = ("index", "acme", key.id)
    index = unseal(key.key, sealed, place)
    index["accounts"]["convex.default"]["by"] = "operator"
    await redis_async.set(keys.vault_index("acme"), seal(key.key, index, place))
    with pytest.raises(VaultDamaged):
        await reader_of(vault).for_tenant("acme")


async def test_a_new_data_key_keeps_accounts_and_closes_copies(redis_async: Redis) -> None:
    """After `rekey` all is as it was, and what was copied before opens nowhere."""
    vault = Vault(redis_async, MASTERS)
    reader = reader_of(vault)
    with pytest.raises(NotFound):
        await vault.rekey("acme")
    await vault.set("acme", "mux", "default", MUX)
    await vault.set("acme", "convex", "default", CONVEX, Writer.TENANT)
    before = await vault.accounts("acme")
    record, index = await vault.state("acme")
    entries = keys.vault_accounts("acme")
    copy: Any = await redis_async.hgetall(entries)
    await reader.for_tenant("acme")
    assert await vault.rekey("acme") == 2
    assert await vault.accounts("acme") == before
    accounts = await reader.for_tenant("acme")
    assert accounts.get("mux", "default").reveal("token_secret") == "canary-secret"
    new = await redis_async.hgetall(entries)
    await redis_async.hset(entries, mapping=copy)
    with pytest.raises(VaultDamaged):
        await reader_of(vault).for_tenant("acme")
    await redis_async.set(keys.vault_key("acme"), record or b"")
    await redis_async.set(keys.vault_index("acme"), index or b"")
    with pytest.raises(VaultDamaged, match="older"):
        await reader.for_tenant("acme")
    assert set(new) == set(copy)


async def test_a_new_data_key_and_writes_at_once_lose_nothing(redis_async: Redis) -> None:
    """Each write that was confirmed is there afterwards, whatever was rekeyed meanwhile."""
    vault = Vault(redis_async, MASTERS)
    await vault.set("acme", "mux", "default", MUX)
    writes = [vault.set("acme", "mux", f"a{number}", MUX) for number in range(5)]
    await asyncio.gather(*writes, vault.rekey("acme"), vault.rekey("acme"))
    assert len((await reader_of(vault).for_tenant("acme")).names("mux")) == 6
