"""Callbacks: sent at least once, signed, to nobody they must not go to, and never for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import orjson
import pytest
import redis.asyncio

from core import keys
from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.ids import new_id
from core.redis_client import connect
from core.tasks import end_tasks
from integrations.vendor_http import VendorHttp
from runs.accept import check_request
from runs.erasing import forget_runs
from runs.model import RunRequest
from runs.redis_scripts import load
from runs.store import RunStore
from scheduler import callbacks
from scheduler.callbacks import Callbacks, pause_before
from scheduler.duties import keep
from tenancy.master_keys import new_line
from tests.callback_receiver import receiver, status
from tests.deadline import Deadline
from triggers.callback_store import MAX_ENDPOINTS, CallbackStore, Change
from triggers.callback_url import UrlPolicy
from triggers.callbacks import Endpoint
from triggers.delivery_log import DeliveryLog
from triggers.trigger_keys import TriggerKeys

KEYS = TriggerKeys.parse(new_line("k1"))
HERE = UrlPolicy(plain=True, loopback=True)
Redis = redis.asyncio.Redis


@dataclass(frozen=True, slots=True)
class Room:
    """One Redis, and what is done with it."""

    redis: Redis
    store: CallbackStore
    log: DeliveryLog
    deadline: Deadline

    async def endpoint(self, url: str | None, tenant: str = "acme") -> tuple[Endpoint, str]:
        """Make an endpoint, and give its secret."""
        return await self.store.create(tenant, "test", url, by="key_x")

    async def ended(self, callback: str, tenant: str = "acme", subject: str | None = None) -> str:
        """End a run that is told of, and give the id of its delivery."""
        run = subject or new_id("run")
        await cast("Any", self.redis.eval)(
            _QUEUE, 0, tenant, callback, "run.finished", run, "succeeded", "ok", _NOW_MS, ""
        )
        return f"dlv_{run[-26:]}"

    async def settled(self, delivery: str, tenant: str = "acme") -> Any:
        """Wait until a delivery is no longer pending."""

        async def probe() -> Any:
            found = await self.log.get(tenant, delivery)
            return found if found.state != "pending" else None

        return await self.deadline.reached(probe, f"the end of {delivery}")

    async def tried(self, delivery: str, attempts: int = 1) -> Any:
        """Wait until a delivery was tried so often."""

        async def probe() -> Any:
            found = await self.log.get("acme", delivery)
            return found if found.attempts >= attempts else None

        return await self.deadline.reached(probe, f"attempt {attempts} of {delivery}")


_NOW_MS = 1_700_000_000_000
_QUEUE = load("lib_callback").text + (
    "\nqueue_callback(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])"
)


@pytest.fixture
def room(redis_async: Redis, deadline: Deadline) -> Room:
    """An empty Redis with everything on it."""
    return Room(
        redis_async, CallbackStore(redis_async, KEYS, HERE), DeliveryLog(redis_async), deadline
    )


@asynccontextmanager
async def sending(
    redis: Redis,
    http: VendorHttp | None = None,
    *,
    lease_ms: int = 30_000,
    policy: UrlPolicy = HERE,
) -> AsyncIterator[asyncio.Task[None]]:
    """Let a scheduler of this process send until the end of the block."""
    duty = Callbacks(redis, http or VendorHttp(), KEYS, policy, lease_ms=lease_ms)
    task = asyncio.create_task(keep(duty))
    try:
        yield task
    finally:
        await end_tasks(task)


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
    async with (
        receiver(lambda _: status(429, f"Retry-After: {next(waits)}")) as got,
        sending(room.redis),
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
            assert least_ms <= pause_ms <= most_ms + 2_000


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


async def test_a_slow_receiver_holds_up_nobody_else(room: Room) -> None:
    """While one receiver answers nothing to many callbacks, others get theirs."""
    async with receiver(lambda _: None) as slow, receiver() as fast, sending(room.redis):
        dead, _ = await room.endpoint(slow.url)
        live, _ = await room.endpoint(fast.url)
        others, _ = await room.endpoint(fast.url, tenant="other")
        for _ in range(300):
            await room.ended(dead.id)
        await room.deadline.reached(_true(lambda: slow.waiting > 0), "a hanging request")
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
        await room.deadline.reached(_true(lambda: slow.waiting == 16), "16 hanging requests")
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
            await room.deadline.reached(_true(lambda: len(got.got) == 40), "all of them")
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
        await room.deadline.reached(_true(lambda: len(got.got) >= 100), "all of them")
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
        async with sending(room.redis, lease_ms=200):
            await room.deadline.reached(_true(lambda: got.waiting > 0), "the first request")
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


class Names:
    """A name server whose answer changes."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, _host: str, _port: int) -> list[str]:
        """Answer, the last time for ever."""
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fd00::1", "0.0.0.1"],
)
async def test_names_of_private_addresses_are_not_connected_to(room: Room, address: str) -> None:
    """A public name with a private address, also beside a public one, gets no connection."""
    async with receiver() as got:
        port = got.url.rpartition(":")[2]
        for answer in ([address], ["93.184.216.34", address]):
            http = VendorHttp(resolve=Names(answer))
            async with sending(room.redis, http):
                endpoint, _ = await room.endpoint(f"http://rebound.example:{port}/")
                record = await room.tried(await room.ended(endpoint.id))
                assert (record.log[0].status, record.log[0].error) == (None, "refused_address")

    assert got.got == []


async def test_a_name_that_changes_between_check_and_connection_changes_nothing(
    room: Room,
) -> None:
    """A connection goes to the address that was checked: the name is asked once."""
    names = Names(["192.0.2.1"], ["127.0.0.1"])
    async with receiver() as got, sending(room.redis, VendorHttp(resolve=names)):
        endpoint, _ = await room.endpoint(f"http://rebound.example:{got.url.rpartition(':')[2]}/")
        record = await room.tried(await room.ended(endpoint.id))
        assert record.log[0].error == "refused_address"
        assert got.got == []
        assert names.asked == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:8420/",
        "https://LOCALHOST/",
        "https://127.1.2.3/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://[fd00::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://0.0.0.0/",
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://user:pass@example.com/",
        "https://user@example.com/",
        "https://example.com/#fragment",
        "https://example.com\\@127.0.0.1/",
        "https://exa mple.com/",
        "https://ex\u00e4mple.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com/\r\nX: y",
        "https:///path",
        "https://",
        "https://[::1",
        "//example.com/",
        "example.com",
        "",
        "https://example.com/" + "x" * 2_048,
    ],
)
async def test_addresses_that_may_not_be_called_are_refused(redis_async: Redis, url: str) -> None:
    """In production: TLS, a public host, and no odd parts; also as the address of one run."""
    store = CallbackStore(redis_async, KEYS, UrlPolicy())
    await store.create("acme", "any", None, by="k")
    with pytest.raises(Invalid) as refused:
        await store.create("acme", "x", url, by="k")
    assert refused.value.pointer == "/url"
    with pytest.raises(Invalid) as refused:
        await store.target("acme", url)
    assert refused.value.pointer == "/callback"


async def test_an_address_that_is_no_longer_allowed_is_not_called(room: Room) -> None:
    """What the operator forbids counts for endpoints that were there before."""
    async with receiver() as got, sending(room.redis, policy=UrlPolicy()):
        endpoint, _ = await room.endpoint(got.url)
        record = await room.settled(await room.ended(endpoint.id))
        assert (record.state, record.why) == ("failed", "refused_address")
        assert got.got == []


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


async def test_secrets_stand_in_clear_nowhere(room: Room) -> None:
    """Neither Redis nor what is shown of an endpoint holds its secret."""
    endpoint, secret = await room.endpoint("http://127.0.0.1:9/")
    dump = await cast("Any", room.redis.hgetall)(keys.callback(endpoint.id))

    assert secret.removeprefix("whsec_") not in str(dump)
    assert secret.removeprefix("whsec_") not in endpoint.model_dump_json()


async def test_targets_are_of_the_tenant(room: Room) -> None:
    """Another tenant's endpoint answers like one that never was; an address needs who signs it."""
    mine, _ = await room.endpoint("https://example.com/")
    theirs, _ = await room.endpoint("https://example.com/", tenant="other")
    assert await room.store.target("acme", mine.id) == mine.id
    messages = set()
    for text in (theirs.id, new_id("clb"), "clb_x", "nothing", "", "x" * 5000):
        with pytest.raises(Invalid) as refused:
            await room.store.target("acme", text)
        messages.add(refused.value.detail)
    assert len(messages) == 1
    with pytest.raises(Invalid, match="whose secret could sign"):
        await room.store.target("acme", "https://example.com/x")
    signer, _ = await room.endpoint(None)
    found = await room.store.target("acme", "https://example.com/x")
    assert found == f"{signer.id} https://example.com/x"
    with pytest.raises(Invalid, match="has no address"):
        await room.store.target("acme", signer.id)


async def test_endpoints_and_deliveries_of_others_cannot_be_seen_or_changed(room: Room) -> None:
    """Foreign ids answer exactly like ids that never were."""
    theirs, _ = await room.endpoint("https://example.com/", tenant="other")
    delivery = await room.ended(theirs.id, tenant="other")
    for endpoint_id in (theirs.id, new_id("clb"), "clb_x"):
        for act in (
            lambda one: room.store.get("acme", one),
            lambda one: room.store.change("acme", one, Change(name="n"), by="k"),
            lambda one: room.store.delete("acme", one, by="k"),
            lambda one: room.store.add_secret("acme", one, by="k"),
        ):
            with pytest.raises(NotFound, match="no callback endpoint with this id"):
                await cast("Any", act)(endpoint_id)
    assert (await room.log.page("acme", theirs.id))[0] == []
    for delivery_id in (delivery, new_id("dlv"), "dlv_x"):
        with pytest.raises(NotFound, match="no delivery with this id"):
            await room.log.get("acme", delivery_id)
        with pytest.raises(NotFound, match="no delivery with this id"):
            await room.log.replay("acme", delivery_id)
    assert (await room.store.get("other", theirs.id)).name == "test"


async def test_lists_are_paged_and_bounded(room: Room) -> None:
    """Newest first, with cursors; a tenant has at most so many endpoints."""
    made = [(await room.endpoint("https://example.com/"))[0].id for _ in range(MAX_ENDPOINTS)]
    with pytest.raises(Conflict, match="no more are taken"):
        await room.endpoint("https://example.com/")
    first, cursor = await room.store.page("acme", limit=30)
    rest, end = await room.store.page("acme", cursor=cursor, limit=30)
    assert sorted([one.id for one in first + rest]) == sorted(made)
    assert (len(first), end) == (30, None)
    deliveries = [await room.ended(made[0]) for _ in range(5)]
    page, cursor = await room.log.page("acme", made[0], limit=3)
    more, end = await room.log.page("acme", made[0], cursor=cursor, limit=3)
    assert {one.id for one in page + more} == set(deliveries)
    assert end is None
    for bad in ("clb_x", "", "dlv_" + "0" * 26):
        with pytest.raises(Invalid):
            await room.log.page("acme", made[0], cursor=bad)


async def test_without_trigger_keys_no_endpoint_is_made(redis_async: Redis) -> None:
    """No secret can be kept: it is said which setting is missing, and nothing is written."""
    store = CallbackStore(redis_async, None, HERE)
    with pytest.raises(Unavailable, match="no trigger key"):
        await store.create("acme", "x", "https://example.com/", by="k")
    assert await cast("Any", redis_async.keys)("*") == []


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


async def test_an_odd_callback_of_a_record_ends_no_run_badly(room: Room) -> None:
    """Whatever text stands in a record's callback, the run ends; nothing is sent for it."""
    for odd in (" ", "x", "clb_x y z", " https://example.com/", "clb_1 not-an-address"):
        await room.ended(odd)


def _true(probe: Callable[[], bool]) -> Callable[[], Any]:
    async def asked() -> bool:
        return probe()

    return asked


async def _due_now(room: Room, lane: str, delivery: str) -> None:
    # What the passing of hours would do.
    await cast("Any", room.redis.zadd)(keys.callback_lane(lane), {delivery: 1})
    await cast("Any", room.redis.zadd)(keys.callback_lanes("acme"), {lane: 1})
    await cast("Any", room.redis.zadd)(keys.CALLBACKS_DUE, {"acme": 1})
