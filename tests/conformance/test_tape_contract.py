"""What every tape promises, in memory and in Redis; and what only a shared one has to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
import redis.asyncio

from core import keys
from core.redis_client import connect_async
from ledger.recording import Recording, TapeTorn
from ledger.redis_tape import RedisTape, Replicas, scan_tape
from ledger.tape import Entry, Kind, MemoryTape, Tape, TapeError, TapeFenced, TapeLost
from tests.redis_backends import BACKENDS, opened

RUN = "run_" + "0" * 26
BODY: Mapping[str, Any] = {"text": "größer \u2603", "list": [1, 2.5, None], "empty": {}}


class Opened:
    """A tape with one entry on it, and a way to read it back."""

    def __init__(self, tape: Tape, read: Callable[[], Awaitable[list[Entry]]]) -> None:
        self.tape = tape
        self.read = read


def ticking() -> Callable[[], int]:
    """Give a clock that says 1000, 1001, 1002..."""
    ticks: Iterator[int] = count(1_000)
    return lambda: next(ticks)


@asynccontextmanager
async def in_memory() -> AsyncIterator[Opened]:
    """Give a tape in memory."""
    tape = MemoryTape(ticking())
    await tape.append(Kind.ACCEPTED, {})

    async def read() -> list[Entry]:
        return tape.entries

    yield Opened(tape, read)


@asynccontextmanager
async def in_redis(backend: str, request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    """Give a tape in Redis; its first entry is written as the ENQUEUE script does."""
    async with opened(backend, request) as client:
        await begin(client)
        clock = ticking()
        clock()

        async def read() -> list[Entry]:
            return [entry async for entry in scan_tape(client, RUN, batch=2)]

        yield Opened(RedisTape(client, RUN, 2, clock), read)


async def begin(client: redis.asyncio.Redis) -> None:
    """Write the first entry of the run's tape."""
    fields: Any = {"kind": "accepted", "at_ms": 1_000, "body": b"{}"}
    await client.xadd(keys.tape(RUN), fields, id="1-0")


@pytest.fixture(params=["memory", *BACKENDS])
async def one(request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    """Every kind of tape, one after the other."""
    kind: str = request.param
    async with in_memory() if kind == "memory" else in_redis(kind, request) as made:
        yield made


@pytest.fixture(params=BACKENDS)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[redis.asyncio.Redis]:
    """A Redis that holds the first entry of the run's tape."""
    async with opened(request.param, request) as made:
        await begin(made)
        yield made


async def test_entries_are_numbered_without_gaps_and_come_back_as_they_were(one: Opened) -> None:
    """What was appended is what is read: number, kind, time and body."""
    started = await one.tape.append(Kind.STARTED, {"attempt": 1})
    intent = await one.tape.append(Kind.INTENT, BODY)

    assert (started.seq, intent.seq) == (2, 3)
    assert (started.at_ms, intent.at_ms) == (1_001, 1_002)
    assert await one.read() == [
        Entry(1, Kind.ACCEPTED, 1_000, {}),
        Entry(2, Kind.STARTED, 1_001, {"attempt": 1}),
        Entry(3, Kind.INTENT, 1_002, BODY),
    ]


async def test_of_two_writers_with_one_number_one_is_refused(client: redis.asyncio.Redis) -> None:
    """Two workers can't both own a run: the second append of a number is fenced."""
    first, second = RedisTape(client, RUN, 2), RedisTape(client, RUN, 2)
    await first.append(Kind.STARTED, {"worker": "a"})

    with pytest.raises(TapeFenced, match="entry 2 was written by somebody else"):
        await second.append(Kind.STARTED, {"worker": "b"})

    kept = [entry.body async for entry in scan_tape(client, RUN)]
    assert kept == [{}, {"worker": "a"}]


async def test_a_fenced_tape_takes_no_more(client: redis.asyncio.Redis) -> None:
    """Who was refused once does not come back in by the next free number."""
    fenced = RedisTape(client, RUN, 1)
    with pytest.raises(TapeFenced):
        await fenced.append(Kind.STARTED, {})

    with pytest.raises(TapeError, match="this tape takes no more"):
        await fenced.append(Kind.INTENT, {})

    assert await client.xlen(keys.tape(RUN)) == 1


async def test_a_tape_that_is_gone_is_not_begun_anew(client: redis.asyncio.Redis) -> None:
    """An entry without those before it would be no tape."""
    tape = RedisTape(client, RUN, 2)
    await client.delete(keys.tape(RUN))

    with pytest.raises(TapeError, match="the tape that entry 2 belongs to is gone"):
        await tape.append(Kind.STARTED, {})

    assert not await client.exists(keys.tape(RUN))


async def test_a_redis_that_lost_entries_is_noticed_by_the_next_one(
    client: redis.asyncio.Redis,
) -> None:
    """A writer whose confirmed entries are gone learns it before anything is sent."""
    tape = RedisTape(client, RUN, 2)
    await tape.append(Kind.STARTED, {})
    await client.xdel(keys.tape(RUN), "2-0")

    with pytest.raises(TapeLost, match="the tape has 2 entries and should have 3"):
        await tape.append(Kind.INTENT, {})

    with pytest.raises(TapeTorn, match="entry 2 is missing"):
        await Recording.read(scan_tape(client, RUN))


async def test_an_intent_that_too_few_replicas_have_is_not_confirmed(redis_url: str) -> None:
    """With replicas asked for and none there, nothing may be sent; other entries need none."""
    async with connect_async(redis_url) as client:
        await begin(client)
        tape = RedisTape(client, RUN, 2, replicas=Replicas(1, within_ms=20))
        await tape.append(Kind.STARTED, {})

        with pytest.raises(TapeError, match="entry 3 did not reach 1 replicas in time"):
            await tape.append(Kind.INTENT, {})


async def test_a_run_without_a_tape_reads_as_empty(client: redis.asyncio.Redis) -> None:
    """Reading what is not there gives nothing and makes nothing."""
    assert [entry async for entry in scan_tape(client, "run_" + "1" * 26)] == []
