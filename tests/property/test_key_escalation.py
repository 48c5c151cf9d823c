"""Whatever a key that administers keys does, no text that it is given can do more than it could."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from core.errors import ServiceError, Unauthenticated
from core.redis_client import connect_async
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet
from tenancy.key_changes import KeyChange
from tenancy.key_record import KeyRecord
from tenancy.keys import KeyStore
from tenancy.scopes import Role, Scope

FAR_MS = 4_000_000_000_000
SCOPES = st.sets(st.sampled_from([Scope.READ, Scope.WRITE, Scope.KEYS_ADMIN]), max_size=2)
EXPIRIES = st.sampled_from([None, 0, FAR_MS - 1, FAR_MS + 1])
NUMBERS = st.integers(0, 9)


@dataclass(frozen=True)
class Move:
    """One thing that whoever has some keys tries."""

    what: str
    giver: int
    target: int
    scopes: frozenset[Scope]
    expires_ms: int | None
    grace_s: int


MOVES = st.lists(
    st.builds(
        Move,
        what=st.sampled_from(["create", "change", "rotate", "revoke"]),
        giver=NUMBERS,
        target=NUMBERS,
        scopes=SCOPES.map(frozenset),
        expires_ms=EXPIRIES,
        grace_s=st.sampled_from([0, 600]),
    ),
    min_size=1,
    max_size=14,
)


@given(
    scopes=SCOPES,
    expires_ms=st.sampled_from([None, FAR_MS]),
    granted=st.booleans(),
    moves=MOVES,
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nobody_comes_to_more_than_they_had(
    redis_url: str,
    scopes: set[Scope],
    expires_ms: int | None,
    granted: bool,  # noqa: FBT001 (an example's)
    moves: list[Move],
) -> None:
    """Of all texts that were ever given out, none opens a scope, a day or a call more."""
    asyncio.run(_play(redis_url, scopes | {Scope.KEYS_ADMIN}, expires_ms, granted, moves))


async def _play(
    redis_url: str,
    scopes: set[Scope],
    expires_ms: int | None,
    granted: bool,  # noqa: FBT001
    moves: list[Move],
) -> None:
    async with connect_async(redis_url) as redis:
        await redis.flushall()
        store, grants = KeyStore(redis), GrantStore(redis)
        await store.create("acme", "greater", scopes=Role.ADMIN.scopes)
        await store.create("acme", "reader", scopes=[Scope.READ])
        first, start = await store.create("acme", "g", scopes=scopes, expires_ms=expires_ms)
        if granted:
            await grants.set("acme", start.id, GrantSet.parse(["mux:read"]), by="cli")
        texts = [first]
        for move in moves:
            with suppress(ServiceError):
                await _make(store, move, texts)
        for text in texts:
            await _check(redis, store, text, start, granted=granted)


async def _make(store: KeyStore, move: Move, texts: list[str]) -> None:
    """Try a move with one of the texts; keep the text that it gives, if it does."""
    giver = await store.authenticate(texts[move.giver % len(texts)])
    giver.require(Scope.KEYS_ADMIN)  # as every route of keys does
    every = await store.all("acme")
    target = every[move.target % len(every)].id
    scopes = tuple(sorted(move.scopes))
    if move.what == "create":
        ends = move.expires_ms or None
        plain, _ = await store.create("acme", "x", scopes=scopes, expires_ms=ends, giver=giver)
        texts.append(plain)
    elif move.what == "change":
        change = KeyChange(scopes=scopes or None, expires_ms=move.expires_ms)
        await store.change("acme", target, change, giver=giver)
    elif move.what == "rotate":
        plain, _ = await store.rotate("acme", target, grace_s=move.grace_s, giver=giver)
        texts.append(plain)
    else:
        await store.revoke("acme", target, giver=giver)


async def _check(
    redis: Redis, store: KeyStore, text: str, start: KeyRecord, *, granted: bool
) -> None:
    try:
        opened = await store.authenticate(text)
    except Unauthenticated:
        return
    assert set(opened.scopes) <= set(start.scopes)
    if start.expires_ms is not None:
        assert opened.expires_ms is not None
        assert opened.expires_ms <= start.expires_ms
    if granted:
        found: Any = await GrantStore(redis).ceiling("acme", opened.id)
        assert [rules.to_json() for rules in found.values()] == [["mux:read"]]
