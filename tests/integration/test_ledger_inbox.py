"""Administrative changes and the ledger's inbox: both or neither."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import NotFound
from tenancy.keys import KeyStore
from tenancy.master_keys import MasterKeys, new_line
from tenancy.vault import Vault

pytestmark = pytest.mark.anyio
OLD, NEW = new_line("old"), new_line("new")


async def leaves(redis: Redis) -> list[dict[str, Any]]:
    """Give what stands in the inbox."""
    rows: Any = await redis.xrange(keys.LEDGER_INBOX)
    return [orjson.loads(fields[b"leaf"]) for _, fields in rows]


async def test_keys_are_made_and_revoked_with_the_ledgers_knowledge(redis_async: Redis) -> None:
    """Each change of a key is a leaf that names the key and never holds it."""
    store = KeyStore(redis_async)
    plain, record = await store.create("acme", "first")
    await store.revoke("acme", record.id)
    with pytest.raises(NotFound):
        await store.revoke("acme", record.id)

    found = await leaves(redis_async)
    assert [(one["kind"], one["id"], one["tenant"]) for one in found] == [
        ("tenant.created", "acme", "acme"),
        ("key.created", record.id, "acme"),
        ("key.revoked", record.id, "acme"),
    ]
    assert plain not in str(found)


async def test_the_vault_changes_with_the_ledgers_knowledge(redis_async: Redis) -> None:
    """Set, delete, rewrap and erase are leaves with names of fields and no value."""
    masters = MasterKeys.parse(OLD)
    vault = Vault(redis_async, masters)
    await vault.set("acme", "mux", "default", {"token_id": "i", "token_secret": "canary"})
    await vault.set("acme", "mux", "other", {"token_id": "i", "token_secret": "canary"})
    await vault.delete("acme", "mux", "other")
    await Vault(redis_async, MasterKeys.parse(f"{NEW}\n{OLD}")).rotate()
    await vault.erase("acme")

    found = await leaves(redis_async)
    assert [(one["kind"], one["id"]) for one in found] == [
        ("credential.set", "mux.default"),
        ("credential.set", "mux.other"),
        ("credential.deleted", "mux.other"),
        ("vault.rewrapped", "acme"),
        ("credentials.erased", "acme"),
    ]
    assert found[0]["fields"] == ["token_id", "token_secret"]
    assert "canary" not in str(found)
