"""Lanes of callbacks: sent at least once, whoever dies, and no receiver holds up another's."""

from __future__ import annotations

from typing import Any, cast

import pytest

from core import keys
from core.errors import Conflict
from runs.redis_scripts import load
from tests.callback_receiver import receiver, status
from tests.callback_room import Redis, Room, holds, sending
from tests.deadline import Deadline


@pytest.fixture
def room(redis_async: Redis, deadline: Deadline) -> Room:
    """An empty Redis with everything on it."""
    return Room.of(redis_async, deadline)


async def test_a_slow_receiver_holds_up_nobody_else(room: Room) -> None:
    """While one receiver answers nothing to many callbacks, others get theirs."""
    async with receiver(lambda _: None) as slow, receiver() as fast, sending(room.redis):
        dead, _ = await room.endpoint(slow.url)
        live, _ = await room.endpoint(fast.url)
        others, _ = await room.endpoint(fast.url, tenant="other")
        for _ in range(300):
            await room.ended(dead.id)
        await room.deadline.reached(holds(lambda: slow.waiting > 0), "a hanging request")
        for _ in range(5):
            assert (await room.settled(await room.ended(live.id))).state == "delivered"
        theirs = await room.ended(others.id, tenant="other")
        assert (await room.settled(theirs, "other")).state == "delivered"
        assert slow.waiting == 1, "a receiver that never answered has more than one request"


async def test_many_dead_receivers_of_one_tenant_hold_up_nobody(room: Room) -> None:
    """Where nobody answers, a tenant holds 16 places of a sender, and others have theirs."""
    async with receiver(lambda _: None) as slow, receiver() as fast, sending(room.redis):
        dead = [(await room.endpoint(f"{slow.url}/{number}"))[0].id for number in range(40)]
        for one in dead:
            for _ in range(3):
                await room.ended(one)
        await room.deadline.reached(holds(lambda: slow.waiting == 16), "16 hanging requests")
        theirs, _ = await room.endpoint(fast.url, tenant="other")
        other = await room.ended(theirs.id, tenant="other")
        assert (await room.settled(other, "other")).state == "delivered"
        assert slow.waiting == 16


async def test_a_quick_receiver_gets_several_at_once(room: Room) -> None:
    """One by one until it has taken one quickly; a backlog is then sent side by side."""
    most = 0

    def count(_: Any) -> bytes:
        nonlocal most
        most = max(most, got.under_way)
        return status(204)

    async with receiver() as got:
        got.answer, got.pause_s = count, 0.05
        endpoint, _ = await room.endpoint(got.url)
        for _ in range(40):
            await room.ended(endpoint.id)
        async with sending(room.redis):
            await room.deadline.reached(holds(lambda: len(got.got) == 40), "all of them")
    assert 1 < most <= 16


async def test_many_endpoints_each_get_their_own(room: Room) -> None:
    """Nothing is lost and nothing is sent to another endpoint, whatever lies beside it."""
    async with receiver() as got, sending(room.redis), sending(room.redis):
        sent: set[tuple[str, str]] = set()
        for number in range(20):
            tenant = f"t{number % 4}"
            endpoint, _ = await room.endpoint(f"{got.url}/{number}", tenant)
            for _ in range(5):
                delivery = await room.ended(endpoint.id, tenant)
                sent.add((delivery, f"/{number}"))
        await room.deadline.reached(holds(lambda: len(got.got) >= 100), "all of them")
        for delivery, path in sent:
            await room.settled(delivery, f"t{int(path[1:]) % 4}")

    assert {(one.id, one.path) for one in got.got} == sent
    assert len(got.got) == len(sent), "two schedulers sent the same one"


async def test_what_a_dead_scheduler_took_is_sent_by_another(room: Room) -> None:
    """Failed: a scheduler that took a delivery and was gone before it sent it loses nothing."""
    async with receiver() as got:
        endpoint, _ = await room.endpoint(got.url)
        delivery = await room.ended(endpoint.id)
        _, *taken = await load("callback_claim").run_async(room.redis, [10, 200])
        assert taken == [delivery.encode(), 1]
        async with sending(room.redis):
            record = await room.settled(delivery)

    assert (record.state, len(got.got)) == ("delivered", 1)


async def test_what_was_sent_and_not_written_down_is_sent_again(room: Room) -> None:
    """Failed but it had happened: the receiver sees the same id twice, and can tell."""
    async with receiver() as got:
        endpoint, _ = await room.endpoint(got.url)
        delivery = await room.ended(endpoint.id)
        got.answer = lambda _: None
        async with sending(room.redis):
            await room.deadline.reached(holds(lambda: got.waiting > 0), "the first request")
        # What the passing of its lease does.
        now: Any = room.redis
        await now.zadd(keys.callback_lane(endpoint.id), {delivery: 1})
        await now.zadd(keys.callback_lanes("acme"), {endpoint.id: 1})
        await now.zadd(keys.CALLBACKS_DUE, {"acme": 1})
        await now.delete(keys.callback_flight("acme"))
        got.answer = lambda _: status(200)
        async with sending(room.redis):
            await room.settled(delivery)

    assert [one.id for one in got.got] == [delivery, delivery]


async def test_who_was_outrun_writes_nothing(room: Room) -> None:
    """An attempt that ends after its lease changes nothing of what another wrote since."""
    endpoint, _ = await room.endpoint("http://127.0.0.1:9/")
    delivery = await room.ended(endpoint.id)
    first = await load("callback_claim").run_async(room.redis, [1, 1])

    async def again() -> Any:
        found = await load("callback_claim").run_async(room.redis, [1, 30_000])
        return found if len(found) > 1 else None

    second = await room.deadline.reached(again, "the second claim")
    assert (first[2], second[2]) == (1, 2)
    done = load("callback_done")
    stale = [delivery, 1, "delivered", "[]", 0, 0, "", "", 1]
    assert await done.run_async(room.redis, cast("Any", stale)) == 0
    assert (await room.log.get("acme", delivery)).state == "pending"
    with pytest.raises(Conflict, match="being sent"):
        await room.log.replay("acme", delivery)


async def test_nothing_of_a_receiver_is_left_when_all_is_sent(room: Room) -> None:
    """Lanes, marks and leases go with the last delivery: addresses of runs do not pile up."""
    async with receiver(lambda _: status(410)) as got, sending(room.redis):
        signer, _ = await room.endpoint(None)
        for host in ("127.0.0.1", "localhost"):
            url = got.url.replace("127.0.0.1", host)
            await room.settled(await room.ended(f"{signer.id} {url}/"))

        async def left() -> bool:
            found = {one.decode() for one in await cast("Any", room.redis.keys)("ms:callback*")}
            return not found - {keys.callback(signer.id), keys.callbacks("acme")}

        await room.deadline.reached(left, "an end of all lanes")


async def test_a_full_lane_is_said_and_not_silent(room: Room) -> None:
    """Beyond what a lane holds a delivery is failed at once, listed, and can be sent by hand."""
    endpoint, _ = await room.endpoint("https://example.com/")
    lane = keys.callback_lane(endpoint.id)
    await cast("Any", room.redis.zadd)(lane, {f"d{number}": 1 for number in range(100_000)})
    delivery = await room.ended(endpoint.id)
    record = await room.log.get("acme", delivery)
    assert (record.state, record.why) == ("failed", "backlog_full")
    assert 0 < await room.redis.ttl(keys.delivery(delivery)) <= 30 * 86_400
