"""What started a run stands in its record, on its tape and in the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
import redis.asyncio

from core import keys
from core.ids import new_id
from runs.accept import check_request
from runs.model import RunRequest
from runs.origin import Origin, OriginKind
from runs.store import RunStore
from tests.redis_backends import BACKENDS, opened

pytestmark = pytest.mark.anyio
CHECKED = check_request(RunRequest(script="return 1"))


@pytest.fixture(params=BACKENDS)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[redis.asyncio.Redis]:
    """An empty Redis."""
    async with opened(request.param, request) as made:
        yield made


async def first_words(client: redis.asyncio.Redis, run_id: str) -> tuple[Any, Any]:
    """Give the body of the tape's first entry and the leaf of a run's acceptance."""
    tape: Any = await client.xrange(keys.tape(run_id), count=1)
    inbox: Any = await client.xrange(keys.LEDGER_INBOX)
    return orjson.loads(tape[0][1][b"body"]), orjson.loads(inbox[-1][1][b"leaf"])


async def test_the_origin_of_a_run_is_told_everywhere(client: redis.asyncio.Redis) -> None:
    """The record, a list, the tape and the leaf name it; the ref, which a user chose, no leaf."""
    store = RunStore(client)
    origin = Origin(kind=OriginKind.SCHEDULE, id=new_id("sch"))
    started = replace(CHECKED, origin=origin, script_ref="nightly@3")
    record = await store.submit_checked("acme", started, key_id="key_1")

    (listed,), _ = await store.page("acme")
    for shown in (record, listed, await store.get("acme", record.id)):
        assert (shown.origin, shown.script_ref) == (origin, "nightly@3")
    body, leaf = await first_words(client, record.id)
    assert body["origin"] == leaf["origin"] == origin.to_json()
    assert "nightly" not in str(leaf)


async def test_a_plain_submission_has_none(client: redis.asyncio.Redis) -> None:
    """Nothing is written for a run that was simply submitted."""
    store = RunStore(client)
    record = await store.submit_checked("acme", CHECKED, key_id="key_1")

    shown = await store.get("acme", record.id)
    assert (shown.origin, shown.script_ref) == (None, None)
    body, leaf = await first_words(client, record.id)
    assert "origin" not in body
    assert "origin" not in leaf
    assert not await client.hexists(keys.run(record.id), "origin")
