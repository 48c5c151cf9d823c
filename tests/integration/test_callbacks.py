"""Callbacks: signed, with what ended, and to nobody who is gone or may not know of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import orjson
import pytest

from core import keys
from core.errors import Conflict
from core.ids import new_id
from core.redis_client import connect
from runs.accept import check_request
from runs.erasing import forget_runs
from runs.model import RunRequest
from runs.store import RunStore
from tests.callback_receiver import receiver
from tests.callback_room import Redis, Room, sending
from tests.deadline import Deadline


@pytest.fixture
def room(redis_async: Redis, deadline: Deadline) -> Room:
    """An empty Redis with everything on it."""
    return Room.of(redis_async, deadline)


async def test_a_callback_is_signed_and_says_what_ended(room: Room) -> None:
    """One request, verified with the endpoint's secret, with the run's state and a link to it."""
    async with receiver() as got, sending(room.redis):
        endpoint, secret = await room.endpoint(f"{got.url}/told?x=1")
        delivery = await room.ended(endpoint.id)
        record = await room.settled(delivery)

    assert (record.state, record.attempts, record.log[0].status) == ("delivered", 1, 204)
    (one,) = got.got
    assert (one.id, one.path) == (delivery, "/told?x=1")
    assert one.check(secret) == 0
    body = orjson.loads(one.body)
    assert body["type"] == "run.finished"
    assert body["timestamp"] == "2023-11-14T22:13:20.000Z"
    assert body["data"]["state"] == "succeeded"
    assert body["data"]["links"] == {"self": f"/v1/runs/{record.subject}"}


async def test_a_run_that_ends_tells_with_its_result(room: Room) -> None:
    """The outbox entry is written in the step that ends the run; the result goes along if small."""
    async with receiver() as got:
        endpoint, _ = await room.endpoint(got.url)
        runs = RunStore(room.redis)
        request = RunRequest(script="return 1", callback=endpoint.id)
        record = await runs.submit_checked("acme", check_request(request), key_id="key_x")
        shown = await runs.get("acme", record.id)
        assert shown.callback == endpoint.id
        assert await room.log.page("acme", endpoint.id) == ([], None)
        await runs.cancel("acme", record.id)
        (waiting,), _ = await room.log.page("acme", endpoint.id)
        assert (waiting.subject, waiting.state, waiting.attempts) == (record.id, "pending", 0)
        await cast("Any", room.redis.hset)(keys.run(record.id), "result", '{"n":1}')
        async with sending(room.redis):
            await room.settled(waiting.id)

    data = got.got[0].data
    assert (data["state"], data["reason"], data["result"]) == ("cancelled", "cancelled", {"n": 1})
    assert data["name"] == "script"


async def test_a_long_result_is_left_out_and_a_gone_run_is_told_all_the_same(room: Room) -> None:
    """A result beyond 16 KiB is only counted; of a run that is no longer kept its end is told."""
    async with receiver() as got, sending(room.redis):
        endpoint, _ = await room.endpoint(got.url)
        long = new_id("run")
        await cast("Any", room.redis.hset)(
            keys.run(long), mapping={"tenant": "acme", "result": f'"{"x" * 20_000}"'}
        )
        await room.settled(await room.ended(endpoint.id, subject=long))
        await room.settled(await room.ended(endpoint.id))
        foreign = new_id("run")
        await cast("Any", room.redis.hset)(
            keys.run(foreign), mapping={"tenant": "other", "result": '"theirs"', "name": "n"}
        )
        await room.settled(await room.ended(endpoint.id, subject=foreign))

    first, second, third = (one.data for one in got.got)
    assert (first["result"], first["result_bytes"]) == (None, 20_002)
    assert second["kept"] is False
    assert third["kept"] is False
    assert b"theirs" not in got.got[2].body


async def test_a_deleted_endpoint_gets_nothing(room: Room) -> None:
    """What was to be sent to it is given up, and cannot be sent by hand."""
    async with receiver() as got:
        endpoint, _ = await room.endpoint(got.url)
        delivery = await room.ended(endpoint.id)
        await room.store.delete("acme", endpoint.id, by="k")
        async with sending(room.redis):
            record = await room.settled(delivery)
        with pytest.raises(Conflict, match="deleted"):
            await room.log.replay("acme", delivery)

    assert (record.why, got.got) == ("endpoint_deleted", [])


async def test_a_callback_that_was_erased_with_its_run_is_not_sent(room: Room) -> None:
    """What was erased is told to nobody; the others of its lane are, and nothing is left of it."""
    async with receiver() as got:
        endpoint, _ = await room.endpoint(got.url)
        run = new_id("run")
        erased = await room.ended(endpoint.id, subject=run)
        kept = await room.ended(endpoint.id)
        await asyncio.to_thread(_forget, room, run)
        # Of two that are due in one moment either may be first; both are looked at.
        lane = partial(cast("Any", room.redis.zcard), keys.callback_lane(endpoint.id))
        async with sending(room.redis):
            await room.settled(kept)
            await room.deadline.reached(_none(lane), "an empty lane")
        assert [one.id for one in got.got] == [kept]
        assert await room.redis.exists(keys.delivery(erased)) == 0


def _none(count: Callable[[], Awaitable[int]]) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return await count() == 0

    return probe


def _forget(room: Room, run: str) -> None:
    arguments = room.redis.connection_pool.connection_kwargs
    with connect(f"unix://{arguments['path']}") as client:
        forget_runs(client, {run: "acme"})


async def test_a_delivery_to_anothers_endpoint_is_not_sent(room: Room) -> None:
    """Somebody's run that names an endpoint of another tenant, however that came, tells nobody."""
    async with receiver() as got, sending(room.redis):
        theirs, _ = await room.endpoint(got.url, tenant="other")
        record = await room.settled(await room.ended(theirs.id))
        assert (record.state, record.why) == ("failed", "endpoint_deleted")
        assert got.got == []


async def test_several_secrets_sign_while_one_is_exchanged(room: Room) -> None:
    """Each secret signs; after the old one is gone it opens nothing; the last one stays."""
    async with receiver() as got, sending(room.redis):
        endpoint, old = await room.endpoint(got.url)
        changed, new = await room.store.add_secret("acme", endpoint.id, by="k")
        await room.settled(await room.ended(endpoint.id))
        await room.store.remove_secret("acme", endpoint.id, changed.secrets[0].id, by="k")
        await room.settled(await room.ended(endpoint.id))
        with pytest.raises(Conflict, match="only secret"):
            await room.store.remove_secret("acme", endpoint.id, changed.secrets[1].id, by="k")

    both, one = got.got
    assert (both.check(old), both.check(new), one.check(new)) == (0, 0, 0)
    with pytest.raises(Exception, match="does not match"):
        one.check(old)


async def test_a_secret_that_does_not_open_sends_nothing(room: Room) -> None:
    """Nothing goes out unsigned: the attempt is written down and made again later."""
    async with receiver() as got, sending(room.redis):
        endpoint, _ = await room.endpoint(got.url)
        other, _ = await room.endpoint(got.url)
        moved = await cast("Any", room.redis.hget)(keys.callback(other.id), "secrets")
        await cast("Any", room.redis.hset)(keys.callback(endpoint.id), "secrets", moved)
        record = await room.tried(await room.ended(endpoint.id))
        assert (record.state, record.log[0].error) == ("pending", "secret_closed")
        assert got.got == []


async def test_an_odd_callback_of_a_record_ends_no_run_badly(room: Room) -> None:
    """Whatever text stands in a record's callback, the run ends; nothing is sent for it."""
    for odd in (" ", "x", "clb_x y z", " https://example.com/", "clb_1 not-an-address"):
        await room.ended(odd)
