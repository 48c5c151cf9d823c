"""Attempts at a callback: made again under one id, ever later, until it is taken or given up."""

from __future__ import annotations

from typing import Any, cast

import pytest

from core import keys
from core.clock import now_ms
from core.errors import Conflict
from scheduler import callbacks
from scheduler.callbacks import pause_before
from tests.callback_receiver import receiver, status
from tests.callback_room import Redis, Room, sending
from tests.deadline import Deadline
from triggers.callback_store import Change


@pytest.fixture
def room(redis_async: Redis, deadline: Deadline) -> Room:
    """An empty Redis with everything on it."""
    return Room.of(redis_async, deadline)


async def test_a_failed_attempt_is_made_again_under_the_same_id(room: Room) -> None:
    """What was not taken is tried again, with one id and a new time, until it is."""
    answers = iter([status(500), status(302, "Location: http://169.254.169.254/"), status(200)])
    async with receiver(lambda _: next(answers)) as got, sending(room.redis):
        endpoint, secret = await room.endpoint(got.url)
        delivery = await room.ended(endpoint.id)
        for attempt in (1, 2):
            record = await room.tried(delivery, attempt)
            assert record.state == "pending"
            assert record.next_ms is not None
            await room.log.replay("acme", delivery)
        record = await room.settled(delivery)

    assert [one.status for one in record.log] == [500, 302, 200]
    assert {one.id for one in got.got} == {delivery}
    assert len(got.got) == 3, "a redirect was followed"
    assert [one.check(secret) for one in got.got] == [0, 0, 0]


def test_pauses_are_those_of_the_specification_with_some_jitter() -> None:
    """Nine further attempts over three days; jitter only adds, and at most a fifth."""
    pauses = [pause_before(tries, 0.0) for tries in range(len(callbacks.RETRIES_S))]
    assert pauses == [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert pause_before(0, 1.0) == 6
    assert all(5 <= pause_before(0) <= 6 for _ in range(100))


async def test_a_receiver_may_ask_to_wait(room: Room) -> None:
    """`Retry-After` of a 429 or 503 makes the pause longer, never shorter and never days."""
    waits = iter(["120", "99999999", "0", "x"])
    moment_ms = now_ms()
    async with (
        receiver(lambda _: status(429, f"Retry-After: {next(waits)}")) as got,
        sending(room.redis, clock=lambda: moment_ms),
    ):
        endpoint, _ = await room.endpoint(got.url)
        for least_ms, most_ms in (
            (120_000, 121_000),
            (3_600_000, 3_601_000),
            (5_000, 7_000),
            (5_000, 7_000),
        ):
            record = await room.tried(await room.ended(endpoint.id))
            pause_ms = record.next_ms - record.log[0].at_ms
            assert least_ms <= pause_ms <= most_ms


async def test_after_the_last_attempt_it_is_given_up(room: Room) -> None:
    """A delivery that used its attempts is failed, and stays to be looked at and sent by hand."""
    async with receiver(lambda _: status(500)) as got, sending(room.redis):
        endpoint, _ = await room.endpoint(got.url)
        delivery = await room.ended(endpoint.id)
        await room.tried(delivery)
        await cast("Any", room.redis.hset)(
            keys.delivery(delivery), "round", len(callbacks.RETRIES_S)
        )
        await _due_now(room, endpoint.id, delivery)
        record = await room.settled(delivery)
        assert (record.state, record.why) == ("failed", "attempts_used")
        assert (await room.store.get("acme", endpoint.id)).state == "enabled"
        assert 0 < await room.redis.ttl(keys.delivery(delivery)) <= 30 * 86_400
        got.answer = lambda _: status(200)
        again = await room.log.replay("acme", delivery)
        assert again.state in {"pending", "delivered"}
        record = await room.settled(delivery)

    assert (record.state, record.attempts) == ("delivered", 3)


async def test_an_endpoint_that_fails_for_days_is_switched_off(room: Room) -> None:
    """Its deliveries were given up and none arrived for three days: it is off, and says why."""
    async with receiver(lambda _: status(500)) as got, sending(room.redis):
        endpoint, _ = await room.endpoint(got.url)
        delivery = await room.ended(endpoint.id)
        await room.tried(delivery)
        failing = (await room.store.get("acme", endpoint.id)).failing_since_ms
        assert failing is not None
        await cast("Any", room.redis.hset)(
            keys.callback(endpoint.id), "failing_since_ms", failing - callbacks.FAILING_MS
        )
        await cast("Any", room.redis.hset)(
            keys.delivery(delivery), "round", len(callbacks.RETRIES_S)
        )
        await _due_now(room, endpoint.id, delivery)
        await room.settled(delivery)
        off = await room.store.get("acme", endpoint.id)
        assert (off.state, off.disabled_why) == ("disabled", "failing")
        with pytest.raises(Conflict, match="switched off"):
            await room.log.replay("acme", delivery)
        count = len(got.got)
        later = await room.settled(await room.ended(endpoint.id))
        assert (later.state, later.why, later.attempts) == ("failed", "endpoint_disabled", 0)
        assert len(got.got) == count, "something was sent to an endpoint that is off"
        got.answer = lambda _: status(200)
        on = await room.store.change("acme", endpoint.id, Change(enabled=True), by="k")
        assert (on.state, on.disabled_why, on.failing_since_ms) == ("enabled", None, None)
        await room.log.replay("acme", later.id)
        assert (await room.settled(later.id)).state == "delivered"


async def test_a_success_forgets_earlier_failures(room: Room) -> None:
    """`failing_since_ms` is of the failures since the last success only."""
    answers = iter([status(500), status(200)])
    async with receiver(lambda _: next(answers)) as got, sending(room.redis):
        endpoint, _ = await room.endpoint(got.url)
        await room.tried(await room.ended(endpoint.id))
        assert (await room.store.get("acme", endpoint.id)).failing_since_ms is not None
        await room.settled(await room.ended(endpoint.id))
        assert (await room.store.get("acme", endpoint.id)).failing_since_ms is None


async def test_gone_switches_an_endpoint_off_at_once(room: Room) -> None:
    """410 is a request to stop; another endpoint at the same receiver goes on."""
    async with receiver(lambda _: status(410)) as got, sending(room.redis):
        endpoint, _ = await room.endpoint(got.url)
        record = await room.settled(await room.ended(endpoint.id))
        off = await room.store.get("acme", endpoint.id)
        any_url, _ = await room.endpoint(None)
        inline = await room.settled(await room.ended(f"{any_url.id} {got.url}/x"))
        on = await room.store.get("acme", any_url.id)

    assert (record.state, record.why) == ("failed", "gone")
    assert (off.state, off.disabled_why) == ("disabled", "gone")
    assert (inline.why, inline.url, on.state) == ("gone", f"{got.url}/x", "enabled")


async def test_odd_answers_harm_nobody(room: Room) -> None:
    """Garbage, endless headers, huge bodies and bad encodings are attempts, and no more."""
    answers: dict[bytes, tuple[str, int | None]] = {
        b"garbage\r\n\r\n": ("pending", None),
        b"": ("pending", None),
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 300_000: ("pending", None),
        status(200, body=b"x" * 1_000_000): ("delivered", 200),
        status(200, "Content-Encoding: gzip", body=b"not gzip"): ("delivered", 200),
        status(500, "Content-Encoding: br", body=b"\xff" * 100): ("pending", 500),
        status(299): ("delivered", 299),
        status(199): ("pending", 199),
    }
    async with receiver() as got, sending(room.redis):
        for answer, (state, code) in answers.items():
            endpoint, _ = await room.endpoint(got.url)
            got.answer = lambda _, answer=answer: answer  # type: ignore[misc]
            record = await room.tried(await room.ended(endpoint.id))
            assert record.state == state, answer[:60]
            if code != 199:
                assert record.log[0].status == code, answer[:60]


async def _due_now(room: Room, lane: str, delivery: str) -> None:
    # What the passing of hours would do.
    await cast("Any", room.redis.zadd)(keys.callback_lane(lane), {delivery: 1})
    await cast("Any", room.redis.zadd)(keys.callback_lanes("acme"), {lane: 1})
    await cast("Any", room.redis.zadd)(keys.CALLBACKS_DUE, {"acme": 1})
