"""
What a call leaves behind when something breaks, in pairs: it failed, and it failed but happened.

The stub counts what reached it: a write is never seen twice.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest

from core.calls import Effect
from core.clock import now_ms
from integrations.accounts import Accounts, AccountsFile
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault, FaultKind
from ledger.tape import Entry, Kind, MemoryTape, TapeFenced
from sandbox.calls import EndRun, Reply
from sandbox.limits import Limits
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.mux_runs import mux_run
from tests.shipped import CATALOG

pytestmark = pytest.mark.anyio
URL = "https://example.com/v.mp4"
POST = "POST /video/v1/assets"
GET = "GET /video/v1/assets"


@pytest.fixture
def nobody_listens() -> Iterator[Accounts]:
    """Give an account whose address refuses connections: bound, so that nobody else gets it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield account_at(f"http://127.0.0.1:{taken.getsockname()[1]}")


def account_at(url: str) -> Accounts:
    """Give an account with another address."""
    text = f'[mux.default]\ntoken_id = "i"\ntoken_secret = "secret-canary"\nbase_url = "{url}"\n'
    return AccountsFile.parse(text, CATALOG, {}).for_tenant(None)


class TestWrites:
    async def test_refused_connection_is_failed(
        self, stubs: Stubs, nobody_listens: Accounts
    ) -> None:
        """No byte left: it failed for certain, and may be tried again."""
        async with mux_run(stubs, accounts=nobody_listens) as run:
            error = await run.error("mux.create_asset", URL)
        assert (error["code"], error["retriable"]) == ("unreachable", True)
        assert error["message"] == (
            "mux.create_asset: Mux cannot be reached; no external call was made"
        )
        assert run.last.effect is Effect.FAILED

    @pytest.mark.parametrize("kind", ["drop", "refuse"])
    async def test_dropped_after_it_was_sent_is_unknown(
        self, stubs: Stubs, kind: FaultKind
    ) -> None:
        """Whether it happened or not looks the same from here: unknown, and sent once only."""
        stubs.mux_faults.add(Fault(kind, POST, times=9))
        async with mux_run(stubs) as run:
            end = await run.answer("mux.create_asset", URL)
        happened = len(stubs.mux.environments["default"].assets) == 4
        assert happened is (kind == "drop")
        assert end == EndRun(
            Reason.EFFECT_UNKNOWN,
            "mux.create_asset: Mux closed the connection before its answer was whole;"
            " it was sent and may have been done",
            "look at the vendor whether it was done before running this again;"
            " it is never sent twice",
        )
        assert stubs.mux_faults.counts == {POST: 1}
        assert run.last.effect is Effect.UNKNOWN
        assert run.tape.entries[-1].body["effect"] == "unknown"

    @pytest.mark.parametrize("status", [502, 504])
    async def test_a_gateway_that_gave_up_is_unknown(self, stubs: Stubs, status: int) -> None:
        """Something in between did not wait for Mux: nobody can tell."""
        stubs.mux_faults.add(Fault("answer", POST, status=status))
        async with mux_run(stubs) as run:
            assert isinstance(await run.answer("mux.create_asset", URL), EndRun)
        assert run.last.effect is Effect.UNKNOWN
        assert stubs.mux_faults.counts == {POST: 1}

    @pytest.mark.parametrize(
        ("status", "retriable"),
        [(400, False), (422, False), (429, True), (500, False), (503, True)],
    )
    async def test_a_refusal_is_failed_and_not_sent_again(
        self,
        stubs: Stubs,
        status: int,
        retriable: bool,  # noqa: FBT001
    ) -> None:
        """The vendor said no; the script may decide to try again, we do not."""
        stubs.mux_faults.add(Fault("answer", POST, status=status, times=9))
        async with mux_run(stubs) as run:
            error = await run.error("mux.create_asset", URL)
        assert (error["status"], error["retriable"]) == (status, retriable)
        assert run.last.effect is Effect.FAILED
        assert stubs.mux_faults.counts == {POST: 1}

    async def test_an_answer_that_breaks_off_has_succeeded(self, stubs: Stubs) -> None:
        """The status came: it was done, only what it said is lost."""
        stubs.mux_faults.add(Fault("drop_body", POST))
        async with mux_run(stubs) as run:
            error = await run.error("mux.create_asset", URL)
        assert (error["code"], error["status"]) == ("dropped", 201)
        assert error["message"].endswith("; the call itself succeeded")
        assert run.last.effect is Effect.SUCCEEDED

    async def test_no_answer_in_time_is_unknown(
        self, stubs: Stubs, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The run's own time bounds a call; what was sent by then may be done."""
        stubs.mux_faults.add(Fault("delay", POST, seconds=5))
        loop = asyncio.get_running_loop()
        now = loop.time
        async with mux_run(stubs, limits=Limits(wall_ms=20_000)) as run:
            task = asyncio.create_task(run.answer("mux.create_asset", URL))
            await _arrived(deadline, stubs)
            with monkeypatch.context() as later:
                # More than the run may take, less than the call.
                later.setattr(loop, "time", lambda: now() + 25)
                end = await task
        assert isinstance(end, EndRun)
        assert "Mux did not answer in time; it was sent and may have been done" in end.message
        assert stubs.mux_faults.counts == {POST: 1}


class TestReads:
    async def test_busy_is_waited_for(self, stubs: Stubs) -> None:
        """429 and 503 are tried again, after as long as the vendor asks."""
        busy = {"retry-after": "0"}
        stubs.mux_faults.add(Fault("answer", GET, status=429, headers=busy))
        stubs.mux_faults.add(Fault("answer", GET, status=503, headers=busy))
        async with mux_run(stubs) as run:
            await run.value("mux.list_assets")
        assert stubs.mux_faults.counts == {GET: 3}
        assert run.kinds == ["intent", "effect"]

    async def test_three_times_and_no_more(self, stubs: Stubs) -> None:
        """A vendor that stays busy is reported, with what it asked for."""
        busy = {"retry-after": "0", "x-request-id": "req-1"}
        stubs.mux_faults.add(Fault("answer", GET, status=429, headers=busy, times=9))
        async with mux_run(stubs) as run:
            error = await run.error("mux.list_assets")
        assert stubs.mux_faults.counts == {GET: 3}
        assert error == {
            **error,
            "status": 429,
            "code": "rate_limited",
            "retry_after": 0.0,
            "request_id": "req-1",
            "retriable": True,
        }

    @pytest.mark.parametrize("asked", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
    async def test_a_long_wait_is_left_to_the_script(self, stubs: Stubs, asked: str) -> None:
        """An hour is not waited; the error says how long was asked for."""
        stubs.mux_faults.add(Fault("answer", GET, status=429, headers={"retry-after": asked}))
        async with mux_run(stubs) as run:
            error = await run.error("mux.list_assets")
        assert stubs.mux_faults.counts == {GET: 1}
        assert error["retry_after"] >= 3600

    async def test_no_wait_beyond_the_end_of_the_run(self, stubs: Stubs) -> None:
        """A wait that would outlast the run is not begun."""
        stubs.mux_faults.add(Fault("answer", GET, status=503, headers={"retry-after": "10"}))
        async with mux_run(stubs, limits=Limits(wall_ms=9_000)) as run:
            assert (await run.error("mux.list_assets"))["retry_after"] == 10
        assert stubs.mux_faults.counts == {GET: 1}

    async def test_the_rate_limit_of_the_stub(self, stubs: Stubs) -> None:
        """Mux's own error for too many POSTs arrives as it is."""
        async with mux_run(stubs) as run:
            await run.value("mux.create_asset", URL)
            stubs.mux.posts_per_s = 0  # used up, however long this machine takes
            error = await run.error("mux.create_asset", URL)
        assert (error["code"], error["retry_after"]) == ("rate_limit_exceeded", 1.0)
        assert "about one POST" in error["message"]

    async def test_dropped_is_tried_again(self, stubs: Stubs) -> None:
        """Reading twice does no harm."""
        stubs.mux_faults.add(Fault("drop", GET))
        async with mux_run(stubs) as run:
            await run.value("mux.list_assets")
        assert stubs.mux_faults.counts == {GET: 2}

    async def test_unreachable_is_failed(self, stubs: Stubs, nobody_listens: Accounts) -> None:
        """Nobody listens: said in words, after a few tries."""
        async with mux_run(stubs, accounts=nobody_listens) as run:
            error = await run.error("mux.list_assets")
        assert error["code"] == "unreachable"
        assert run.last.effect is Effect.FAILED

    async def test_too_late_is_failed(self, stubs: Stubs) -> None:
        """A reading call that times out changed nothing."""
        stubs.mux_faults.add(Fault("delay", GET, seconds=5))
        async with mux_run(stubs, limits=Limits(wall_ms=300)) as run:
            assert (await run.error("mux.list_assets"))["code"] == "timeout"
        assert run.last.effect is Effect.FAILED


class FailingTape(MemoryTape):
    """Refuses one kind of entry: another writer owns the run."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(now_ms)
        self._kind = kind

    async def append(self, kind: Kind, body: Mapping[str, Any]) -> Entry:
        if kind is self._kind:
            raise TapeFenced("somebody else owns this run")
        return await super().append(kind, body)


class TestTape:
    async def test_without_its_intent_nothing_is_sent(self, stubs: Stubs) -> None:
        """The tape comes first: no entry, no request."""
        async with mux_run(stubs, tape=FailingTape(Kind.INTENT)) as run:
            with pytest.raises(TapeFenced):
                await run.answer("mux.create_asset", URL)
        assert not stubs.mux_faults.seen
        assert run.broker.calls == []

    async def test_without_its_effect_no_reply_is_given(self, stubs: Stubs) -> None:
        """What is not on the tape, the script does not learn; the intent stays open."""
        tape = FailingTape(Kind.EFFECT)
        async with mux_run(stubs, tape=tape) as run:
            with pytest.raises(TapeFenced):
                await run.answer("mux.create_asset", URL)
        assert [entry.kind for entry in tape.entries] == [Kind.INTENT]
        assert stubs.mux_faults.counts == {POST: 1}


class SlowTape(MemoryTape):
    """Holds each entry until it is let go."""

    def __init__(self) -> None:
        super().__init__(now_ms)
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def append(self, kind: Kind, body: Mapping[str, Any]) -> Entry:
        self.reached.set()
        await self.go.wait()
        return await super().append(kind, body)


class TestTheRunEndsFirst:
    async def test_an_entry_is_never_left_half_written(self, stubs: Stubs) -> None:
        """Cancelled while its intent is being written: it is written, and nothing is sent."""
        tape = SlowTape()
        async with mux_run(stubs, tape=tape) as run:
            task = asyncio.create_task(run.answer("mux.create_asset", URL))
            await tape.reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            tape.go.set()
            await run.broker.abandon()
            assert [entry.kind for entry in tape.entries] == [Kind.INTENT, Kind.EFFECT]
            assert run.last.effect is Effect.FAILED
        assert not stubs.mux_faults.seen

    async def test_a_refusal_is_written_whole_too(self, stubs: Stubs) -> None:
        """Cancelled while a refusal is being written: it is on the tape when `abandon` returns."""
        tape = SlowTape()
        async with mux_run(stubs, tape=tape) as run:
            task = asyncio.create_task(run.answer("mux.nonsense"))
            await tape.reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            tape.go.set()
            await run.broker.abandon()
            assert [entry.kind for entry in tape.entries] == [Kind.EFFECT]

    @pytest.mark.parametrize(
        ("name", "route", "effect"),
        [
            ("mux.create_asset", POST, Effect.UNKNOWN),
            ("mux.list_live_streams", "GET /video/v1/live-streams", Effect.FAILED),
        ],
    )
    async def test_a_cancelled_call_is_written_down(
        self, stubs: Stubs, deadline: Deadline, name: str, route: str, effect: Effect
    ) -> None:
        """The one who waits is cancelled; what was sent still reaches the tape."""
        stubs.mux_faults.add(Fault("delay", route, seconds=30))
        async with mux_run(stubs) as run:
            given = [URL] if name == "mux.create_asset" else []
            task = asyncio.create_task(run.answer(name, *given))
            await _arrived(deadline, stubs)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await run.broker.abandon()
        assert run.kinds == ["intent", "effect"]
        assert run.tape.entries[1].body["effect"] == effect.value
        assert [one.effect for one in run.broker.calls] == [effect]

    async def test_abandoning_answers_who_still_waits(
        self, stubs: Stubs, deadline: Deadline
    ) -> None:
        """`abandon` alone stops the call; an unknown effect ends the run, whoever asks."""
        stubs.mux_faults.add(Fault("delay", POST, seconds=30))
        async with mux_run(stubs) as run:
            task = asyncio.create_task(run.answer("mux.create_asset", URL))
            await _arrived(deadline, stubs)
            await run.broker.abandon()
            end = await task
        assert isinstance(end, EndRun)
        assert end.reason is Reason.EFFECT_UNKNOWN
        assert run.kinds == ["intent", "effect"]

    async def test_an_abandoned_wait_between_tries_sent_nothing(
        self, stubs: Stubs, deadline: Deadline, nobody_listens: Accounts
    ) -> None:
        """While waiting to connect again, a write has not left."""
        async with mux_run(stubs, accounts=nobody_listens) as run:
            task = asyncio.create_task(run.answer("mux.create_asset", URL))
            await deadline.reached(_async(lambda: bool(run.tape.entries)), "the intent")
            await run.broker.abandon()
            await task
        assert run.last.effect is Effect.FAILED

    async def test_calls_can_be_in_flight_together(self, stubs: Stubs) -> None:
        """Several at once: each has its intent and effect, numbers unbroken."""
        async with mux_run(stubs) as run:
            replies = await asyncio.gather(*(run.answer("mux.list_assets") for _ in range(20)))
        assert all(isinstance(reply, Reply) and reply.ok for reply in replies)
        assert [entry.seq for entry in run.tape.entries] == list(range(1, 41))
        assert sorted(one.seq for one in run.broker.calls) == list(range(1, 21))


async def _arrived(deadline: Deadline, stubs: Stubs) -> None:
    await deadline.reached(_async(lambda: bool(stubs.mux_faults.seen)), "the request")


def _async(probe: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def probed() -> bool:
        return probe()

    return probed
