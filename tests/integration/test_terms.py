"""Terms of tenants and keys in a real Redis, with the ledger's knowledge."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Conflict, Invalid, NotFound
from sandbox.limits import SPECS
from tenancy.keys import KeyStore
from tenancy.terms import CALLS_PER_MINUTE, CEILING, MAX_TERMS, TERMS, TermsStore, spec_of

pytestmark = pytest.mark.anyio


async def changes(redis: Redis) -> list[dict[str, Any]]:
    """Give what the inbox tells of terms."""
    rows: Any = await redis.xrange(keys.LEDGER_INBOX)
    told = [orjson.loads(fields[b"leaf"]) for _, fields in rows]
    return [one for one in told if one["kind"] == "limits.changed"]


async def test_terms_are_kept_changed_and_removed_one_by_one(redis_async: Redis) -> None:
    """A change touches the terms it names, gives what holds then, and is one leaf."""
    _, key = await KeyStore(redis_async).create("acme", "one")
    store = TermsStore(redis_async, clock=lambda: 7)
    assert await store.get("acme") == {}
    assert await store.set("acme", None, {"weight": 5, "runs_per_day": 10}, by="cli") == {
        "weight": 5,
        "runs_per_day": 10,
    }
    after = await store.set(
        "acme", None, {"weight": None, "calls_per_minute.mux": 3, "ceiling.cpu_ms": 100}, by="k"
    )
    assert after == {"runs_per_day": 10, "calls_per_minute.mux": 3, "ceiling.cpu_ms": 100}
    assert await store.get("acme") == after
    await store.set("acme", key.id, {"concurrent_runs": 2}, by="cli")
    assert await store.get("acme", key.id) == {"concurrent_runs": 2}
    assert await store.get("acme") == after

    told = await changes(redis_async)
    assert [(one["id"], one["tenant"], one["by"], one["at_ms"]) for one in told] == [
        ("acme", "acme", "cli", 7),
        ("acme", "acme", "k", 7),
        (key.id, "acme", "cli", 7),
    ]
    assert told[1]["limits"]["weight"] is None


async def test_redis_scripts_find_plain_integers(redis_async: Redis) -> None:
    """The hashes have the names that scripts read, and integers in decimal."""
    _, key = await KeyStore(redis_async).create("acme", "one")
    store = TermsStore(redis_async)
    await store.set("acme", None, {"weight": 5}, by="cli")
    await store.set("acme", key.id, {"instructions_per_day": 10**15}, by="cli")
    assert await redis_async.hget("ms:terms:acme", "weight") == b"5"
    found = await redis_async.hget(f"ms:terms:acme:{key.id}", "instructions_per_day")
    assert found == b"1000000000000000"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"weight": 0},
        {"weight": 101},
        {"weight": True},
        {"weight": "5"},
        {"weight": 1.0},
        {"wieght": 5},
        {"": 5},
        {"ceiling.": 5},
        {"ceiling.moon": 5},
        {"ceiling.cpu_ms": SPECS["cpu_ms"].maximum + 1},
        {"calls_per_minute.": 5},
        {"calls_per_minute.Mux": 5},
        {"calls_per_minute.a b": 5},
        {"suspended_ms": 5},
        {"suspended_ms": None},
        {"runs_per_day\n": 5},
        {"runs_per_day": 10**400},
        {"runs_per_day": 5, "weight": -1},
    ],
)
async def test_what_is_no_term_changes_nothing(redis_async: Redis, given: Any) -> None:
    """An unknown name or a value out of range refuses the whole change, without a leaf."""
    await KeyStore(redis_async).create("acme", "one")
    with pytest.raises(Invalid):
        await TermsStore(redis_async).set("acme", None, given, by="cli")
    assert await redis_async.exists("ms:terms:acme") == 0
    assert await changes(redis_async) == []


async def test_terms_of_nobody_are_not_kept(redis_async: Redis) -> None:
    """A tenant that is not, a key of another tenant and one that never was answer alike."""
    store = TermsStore(redis_async)
    with pytest.raises(NotFound):
        await store.set("acme", None, {"weight": 5}, by="cli")
    await KeyStore(redis_async).create("acme", "one")
    _, foreign = await KeyStore(redis_async).create("globex", "two")
    told = []
    for key_id in (foreign.id, foreign.id[:-1] + "0"):
        with pytest.raises(NotFound) as refused:
            await store.set("acme", key_id, {"queued_runs": 5}, by="cli")
        told.append(refused.value.detail.replace(key_id, "KEY"))
    assert told[0] == told[1]
    assert await changes(redis_async) == []


async def test_a_share_of_workers_is_a_tenants_not_a_keys(redis_async: Redis) -> None:
    """Weight is refused for a key; every other term is there for both."""
    _, key = await KeyStore(redis_async).create("acme", "one")
    with pytest.raises(Invalid, match="tenants only"):
        await TermsStore(redis_async).set("acme", key.id, {"weight": 5}, by="cli")
    assert [name for name, spec in TERMS.items() if not spec.of_keys] == ["weight"]


async def test_terms_are_bounded_in_number(redis_async: Redis) -> None:
    """Nobody fills the hash: neither at once nor little by little."""
    await KeyStore(redis_async).create("acme", "one")
    store = TermsStore(redis_async)
    many = {f"{CALLS_PER_MINUTE}i{number}": 1 for number in range(MAX_TERMS)}
    with pytest.raises(Invalid):
        await store.set("acme", None, {**many, "weight": 1}, by="cli")
    assert len(await store.set("acme", None, many, by="cli")) == MAX_TERMS
    with pytest.raises(Conflict):
        await store.set("acme", None, {"weight": 1}, by="cli")


async def test_changes_at_once_lose_nothing(redis_async: Redis) -> None:
    """Ten that change different terms at once all hold, each with its leaf."""
    await KeyStore(redis_async).create("acme", "one")
    store = TermsStore(redis_async)
    names = [f"{CALLS_PER_MINUTE}i{number}" for number in range(6)]
    await asyncio.gather(*(store.set("acme", None, {name: 1}, by="cli") for name in names))
    assert sorted(await store.get("acme")) == names
    assert len(await changes(redis_async)) == 6


async def test_terms_of_a_key_go_with_the_key(redis_async: Redis) -> None:
    """A key that was revoked leaves no terms behind."""
    made = KeyStore(redis_async)
    _, key = await made.create("acme", "one")
    await TermsStore(redis_async).set("acme", key.id, {"queued_runs": 5}, by="cli")
    await made.revoke("acme", key.id)
    assert await redis_async.exists(f"ms:terms:acme:{key.id}", "ms:keys:acme") == 0


def test_every_limit_of_a_run_has_a_ceiling() -> None:
    """There is a ceiling for each limit, in its unit and within its range."""
    for name, limit in SPECS.items():
        spec = spec_of(CEILING + name)
        assert spec is not None
        assert (spec.unit, spec.minimum, spec.maximum) == (
            limit.unit,
            limit.minimum,
            limit.maximum,
        )
