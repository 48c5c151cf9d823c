"""The credential vault on a real Redis: what is kept opens at its place, now, and nowhere else."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Invalid, NotFound, Unavailable
from core.redis_client import connect_async
from integrations.accounts import AccountsFile
from tenancy.envelope import NoSuchMasterKey, VaultDamaged
from tenancy.master_keys import MasterKeys, new_line
from tenancy.vault import MAX_VALUE_BYTES, Vault
from tests.command import environment, moonsand
from tests.shipped import CATALOG
from worker.vaulted_accounts import VaultedAccounts

pytestmark = pytest.mark.anyio
OLD, NEW = new_line("old"), new_line("new")
MUX = {"token_id": "id", "token_secret": "canary-secret"}
FILE = '[tenants.acme.mux.default]\ntoken_id = "file"\ntoken_secret = "file"\n'


def vault_of(redis: Redis, *lines: str) -> Vault:
    """Open the vault with some master keys."""
    return Vault(redis, MasterKeys.parse("\n".join(lines or (OLD,))))


def reader_of(vault: Vault) -> VaultedAccounts:
    """Read as a worker does, with a file that has another `mux.default` of acme."""
    return VaultedAccounts(vault, AccountsFile.parse(FILE, CATALOG, {}), CATALOG)


async def test_a_worker_sees_each_change_at_its_next_run(redis_async: Redis) -> None:
    """The vault goes before the file, a new value before the old, and deletion is at once."""
    vault = vault_of(redis_async)
    reader = reader_of(vault)
    seen = [(await reader.for_tenant("acme")).get("mux", "default").reveal("token_secret")]
    for secret in ("one", "two"):
        await vault.set("acme", "mux", "default", MUX | {"token_secret": secret})
        found = (await reader.for_tenant("acme")).get("mux", "default")
        seen.append(found.reveal("token_secret"))
        assert secret not in repr(found)
    await vault.delete("acme", "mux", "default")
    seen.append((await reader.for_tenant("acme")).get("mux", "default").reveal("token_secret"))
    assert seen == ["file", "one", "two", "file"]


async def test_a_list_shows_names_and_never_values(redis_async: Redis) -> None:
    """What may be shown of an account has no value in it, and Redis has none in the clear."""
    vault = vault_of(redis_async)
    await vault.set("acme", "mux", "default", MUX)
    (kept,) = await vault.accounts("acme")
    assert (kept.account, kept.fields, kept.version) == ("default", ("token_id", "token_secret"), 1)
    entry = await redis_async.hget(keys.vault_accounts("acme"), "mux.default")
    assert entry is not None
    assert b"canary" not in entry
    assert await vault.accounts("other") == []


async def test_a_ciphertext_opens_at_its_own_place_only(redis_async: Redis) -> None:
    """Swapped between accounts, tenants or versions, cut or changed: nothing opens."""
    vault = vault_of(redis_async)
    await vault.set("acme", "mux", "default", MUX)
    one = keys.vault_accounts("acme")
    first = await redis_async.hget(one, "mux.default")
    assert isinstance(first, bytes)
    await vault.set("acme", "mux", "default", MUX)
    await vault.set("acme", "mux", "other", MUX)
    await vault.set("evil", "mux", "default", MUX)
    good = await redis_async.hget(one, "mux.default")
    other = await redis_async.hget(one, "mux.other")
    foreign = await redis_async.hget(keys.vault_accounts("evil"), "mux.default")
    assert isinstance(good, bytes)
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    for bad in (first, other, foreign, flipped, good[:-1], good[:20], b"", b"\x02" + good[1:]):
        await redis_async.hset(one, "mux.default", bad)
        with pytest.raises(VaultDamaged):
            await reader_of(vault).for_tenant("acme")
    await redis_async.hset(one, "mux.default", good)
    assert (await reader_of(vault).for_tenant("acme")).names("mux") == ["default", "other"]


async def test_another_tenants_key_and_index_do_not_open(redis_async: Redis) -> None:
    """A wrapped data key or an index moved to another tenant opens nothing there."""
    vault = vault_of(redis_async)
    await vault.set("acme", "mux", "default", MUX)
    await vault.set("evil", "mux", "default", MUX)
    for part in (keys.vault_key, keys.vault_index):
        kept = await redis_async.get(part("evil"))
        moved = await redis_async.get(part("acme"))
        assert kept is not None
        assert moved is not None
        await redis_async.set(part("evil"), moved)
        with pytest.raises(VaultDamaged):
            await reader_of(vault).for_tenant("evil")
        with pytest.raises(VaultDamaged):
            await vault.set("evil", "mux", "default", MUX)
        await redis_async.set(part("evil"), kept)
    await redis_async.delete(keys.vault_index("evil"))
    with pytest.raises(VaultDamaged):
        await reader_of(vault).for_tenant("evil")


async def test_a_worker_does_not_go_back_in_time(redis_async: Redis) -> None:
    """A tenant's whole vault put back from earlier is refused by a worker that saw later."""
    vault = vault_of(redis_async)
    reader = reader_of(vault)
    parts = (keys.vault_key("acme"), keys.vault_index("acme"), keys.vault_accounts("acme"))
    await vault.set("acme", "mux", "default", MUX)
    copies = [await redis_async.dump(part) for part in parts]
    await vault.set("acme", "mux", "default", MUX)
    await reader.for_tenant("acme")
    for part, copy in zip(parts, copies, strict=True):
        await redis_async.restore(part, 0, copy or b"", replace=True)
    with pytest.raises(VaultDamaged, match="older"):
        await reader.for_tenant("acme")
    await vault.erase("acme")
    await vault.set("acme", "mux", "default", MUX)
    await reader.for_tenant("acme")
    for part, copy in zip(parts, copies, strict=True):
        await redis_async.restore(part, 0, copy or b"", replace=True)
    with pytest.raises(VaultDamaged, match="older"):
        await reader.for_tenant("acme")


async def test_rotation_needs_the_old_key_until_it_is_done(redis_async: Redis) -> None:
    """Both keys open before, the new one alone after; without the right one nothing does."""
    await vault_of(redis_async).set("acme", "mux", "default", MUX)
    with pytest.raises(NoSuchMasterKey):
        await vault_of(redis_async, NEW).check()
    both = vault_of(redis_async, NEW, OLD)
    assert len(await both.accounts("acme")) == 1
    assert await both.rotate() == (1, 1)
    assert await both.rotate() == (0, 1)
    await vault_of(redis_async, NEW).check()
    with pytest.raises(NoSuchMasterKey):
        await reader_of(vault_of(redis_async, OLD)).for_tenant("acme")
    forged = "new:" + new_line("x").partition(":")[2]
    with pytest.raises(VaultDamaged):
        await vault_of(redis_async, forged).check()


async def test_rotations_and_writes_at_once_lose_nothing(redis_async: Redis) -> None:
    """Every write survives rotation to and fro, each with a version of its own."""
    await vault_of(redis_async).set("acme", "mux", "default", MUX)
    there, back = vault_of(redis_async, NEW, OLD), vault_of(redis_async, OLD, NEW)
    writes = [there.set("acme", "mux", f"a{number}", MUX) for number in range(6)]
    await asyncio.gather(*writes, there.rotate(), back.rotate(), there.rotate())
    kept = await there.accounts("acme")
    assert sorted(one.version for one in kept) == list(range(1, 8))
    assert len((await reader_of(there).for_tenant("acme")).names("mux")) == 7


async def test_without_a_master_key_nothing_is_given(redis_async: Redis) -> None:
    """The vault is off and says so; a tenant that has accounts in it gets none, of the file too."""
    off = Vault(redis_async, None)
    await off.check()
    with pytest.raises(Unavailable, match="off"):
        await off.set("acme", "mux", "default", MUX)
    await vault_of(redis_async).set("acme", "mux", "production", MUX)
    with pytest.raises(Unavailable, match="off"):
        await off.check()
    with pytest.raises(Unavailable, match="off"):
        await reader_of(off).for_tenant("acme")
    assert (await reader_of(off).for_tenant("other")).names("mux") == []


async def test_erasing_destroys_the_key(redis_async: Redis) -> None:
    """After erasure nothing of the tenant stands in Redis, and what was copied stays closed."""
    vault = vault_of(redis_async)
    await vault.set("acme", "mux", "default", MUX)
    copy = await redis_async.dump(keys.vault_accounts("acme"))
    index = await redis_async.get(keys.vault_index("acme"))
    assert await Vault(redis_async, None).erase("acme")
    assert not await vault.erase("acme")
    assert await redis_async.keys("ms:vault*") == []
    await vault.set("acme", "mux", "default", MUX)
    await redis_async.restore(keys.vault_accounts("acme"), 0, copy or b"", replace=True)
    await redis_async.set(keys.vault_index("acme"), index or b"")
    with pytest.raises(VaultDamaged):
        await reader_of(vault).for_tenant("acme")


async def test_sizes_and_names_are_bounded(redis_async: Redis) -> None:
    """Huge values, no values and unknown accounts are refused; nothing is written."""
    vault = vault_of(redis_async)
    for values in ({}, {"token_id": "x" * (MAX_VALUE_BYTES + 1)}):
        with pytest.raises(Invalid):
            await vault.set("acme", "mux", "default", values)
    with pytest.raises(Invalid):
        await vault.set("a:b", "mux", "default", MUX)
    with pytest.raises(NotFound):
        await vault.delete("acme", "mux", "default")
    assert await redis_async.keys("*") == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "#x", "a", "a:", "a:AAAA"),
        pytest.param("A:" + OLD[4:], id="capital"),
        pytest.param(f"{OLD},{OLD}", id="twice"),
    ],
)
def test_malformed_master_keys_are_refused_without_showing_them(text: str) -> None:
    """A key that cannot be used stops the start; its text is in no message."""
    with pytest.raises(Invalid) as refused:
        MasterKeys.parse(text)
    assert OLD[4:] not in str(refused.value)
    assert OLD[4:] not in repr(MasterKeys.parse(OLD))


def test_production_refuses_a_worker_without_the_key(redis_url: str) -> None:
    """With accounts in the vault and no master key, a production worker does not start."""

    async def fill() -> None:
        async with connect_async(redis_url) as redis:
            await vault_of(redis).set("acme", "mux", "default", MUX)

    asyncio.run(fill())
    env = environment(REDIS_URL=redis_url, MOONSAND_ENVIRONMENT="production")
    refused = moonsand("worker", "--burst", env=env)
    assert refused.returncode == 3
    assert "the credential vault is off" in refused.stderr
