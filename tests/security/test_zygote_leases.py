"""Leases of children: more at once than can be asked for, and runs that do not wait for theirs."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
from collections import Counter
from pathlib import Path

import pytest

from sandbox.calls import Call, Reply, StartRequest
from sandbox.limits import Limits
from sandbox.outcome import Outcome, Reason
from sandbox.supervisor import Sandbox
from sandbox.zygote import Child, SandboxUnavailable, Zygote
from tests.deadline import Deadline
from tests.security.leases import leased
from tests.security.test_attacks import SURFACE

pytestmark = pytest.mark.jail

RUNS, SPARES = 600, 3


async def answer(call: Call) -> Reply:
    """Answer any call with null."""
    return Reply(ok=True, body=b"null", clock_ms=0)


async def test_no_lease_is_lost_while_the_zygote_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run gets a child and its own result, and the warm children are there again after."""
    monkeypatch.setattr("sandbox.zygote._LEASE_S", 40.0)  # all wait from the same moment
    async with Sandbox(SPARES) as box:

        async def run(number: int) -> Outcome:
            return await box.run(StartRequest(script=b"return %d" % number), answer)

        async with asyncio.timeout(40):
            outcomes = await asyncio.gather(*map(run, range(RUNS)))

        assert Counter(outcome.reason for outcome in outcomes) == {Reason.OK: RUNS}
        assert [json.loads(outcome.result) for outcome in outcomes] == list(range(RUNS))
        assert await Deadline().reached(
            lambda: _children(box.zygote_pid, SPARES), "the warm children"
        )


async def test_a_run_that_waits_for_a_child_outlives_the_zygote() -> None:
    """When the zygote dies, runs that have a child end as crashed; those that wait get another."""
    async with Sandbox(1) as box:
        os.kill(box.zygote_pid, signal.SIGSTOP)  # so that the others wait
        runs = [
            asyncio.create_task(box.run(StartRequest(script=b"return 1"), answer)) for _ in range(5)
        ]
        await asyncio.wait(runs, timeout=0.2)
        os.kill(box.zygote_pid, signal.SIGKILL)

        async with asyncio.timeout(20):
            reasons = Counter([(await run).reason for run in runs])

    assert reasons[Reason.OK] >= 4
    assert set(reasons) <= {Reason.OK, Reason.CRASHED}


async def test_a_dead_child_of_a_silent_zygote_has_not_lived_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Word of its end comes late from a busy machine: the run is judged by it all the same."""
    monkeypatch.setattr("sandbox.conduct._LINGER_S", 0.1)
    async with Sandbox(1) as box:
        asked, told = asyncio.Event(), asyncio.Event()

        async def answer_late(call: Call) -> Reply:
            asked.set()
            await told.wait()
            return await answer(call)

        request = StartRequest(script=b"app.integrations.demo.echo() return 1", surface=SURFACE)
        running = asyncio.create_task(box.run(request, answer_late))
        await asyncio.wait_for(asked.wait(), 20)
        (child,) = await leased(box, 1)
        os.kill(box.zygote_pid, signal.SIGSTOP)
        told.set()

        async def ended() -> bool:
            return child.has_ended()

        await Deadline().reached(ended, "the child's end")
        await asyncio.wait([running], timeout=1)  # ten times what a child may live on for
        os.kill(box.zygote_pid, signal.SIGCONT)
        async with asyncio.timeout(20):
            outcome = await running
    assert (outcome.reason, outcome.result) == (Reason.OK, b"1")


async def test_a_child_that_died_before_the_wall_has_not_run_into_it() -> None:
    """Nobody knows why it died until the zygote tells; by then its time may be over."""
    module = "tests.security.evil_children.zygote"
    async with Sandbox(1, zygote_module=module) as box:

        async def ready() -> bool:
            return box._zygote is not None and len(box._zygote._spares) == 1

        await Deadline().reached(ready, "a warm child")
        os.kill(box.zygote_pid, signal.SIGSTOP)
        limits = Limits(wall_ms=500)
        request = StartRequest(script=b"exits_without_a_word", limits=limits)
        running = asyncio.create_task(box.run(request, answer))
        (child,) = await leased(box, 1)

        async def ended() -> bool:
            return child.has_ended()

        await Deadline().reached(ended, "the child's end")
        await asyncio.wait([running], timeout=1)  # twice what the run may take
        os.kill(box.zygote_pid, signal.SIGCONT)
        async with asyncio.timeout(20):
            assert (await running).reason is Reason.CRASHED


async def test_a_cancelled_run_sets_no_timer_for_a_child_that_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When it fires, another child may have its descriptors: it would be killed for nothing."""
    waited: list[str] = []
    monkeypatch.setattr(
        "sandbox.conduct.Conduct._wait_for_its_end", lambda _, why: waited.append(why)
    )
    asked = asyncio.Event()
    async with Sandbox(1) as box:

        async def answer_slowly(_: Call) -> Reply:
            (child,) = await leased(box, 1)

            async def ended() -> bool:
                return child.has_ended()

            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                await Deadline().reached(ended, "the child's end")
                await asyncio.sleep(0)  # the loop has heard that its socket is closed
                await asyncio.sleep(0)
            raise AssertionError("never answered")

        request = StartRequest(script=b"app.integrations.demo.echo()", surface=SURFACE)
        running = asyncio.create_task(box.run(request, answer_slowly))
        await asyncio.wait_for(asked.wait(), 20)
        running.cancel()
        await asyncio.wait([running], timeout=20)
        assert running.cancelled()
    assert waited == []


def test_a_child_whose_descriptors_did_not_fit_is_let_go() -> None:
    """A process out of descriptors tells the runs that wait, and keeps none of the child's."""

    async def take() -> BaseException | None:
        zygote = Zygote(1)
        waiter: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        zygote._waiters.append(waiter)
        read, write = os.pipe()
        os.close(read)
        zygote._take_child(1, [write])
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(write)
        return waiter.exception()

    assert isinstance(asyncio.run(take()), SandboxUnavailable)


async def test_runs_cancelled_while_their_child_dies_disturb_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a cancelled run no longer waits for breaks nothing, and the others learn of a death."""
    monkeypatch.setattr("sandbox.conduct._LINGER_S", 60.0)
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: broken.append(what))
    module = "tests.security.evil_children.zygote"
    async with Sandbox(SPARES, zygote_module=module) as box:
        limits = Limits(wall_ms=20_000, cpu_ms=20_000)
        gone, alive = (
            asyncio.create_task(box.run(StartRequest(script=attack, limits=limits), answer))
            for attack in (b"closes_early_and_lives_on", b"never_answers")
        )
        children = await leased(box, 2)

        async def hung_up() -> bool:  # the other child says nothing
            sockets = [one.socket for one in children]
            return bool(select.select(sockets, [], [], 0)[0])

        await Deadline().reached(hung_up, "the closed socket")
        os.kill(box.zygote_pid, signal.SIGSTOP)  # so that it dies before it can tell of the child
        gone.cancel()
        await asyncio.wait([gone], timeout=5)
        os.kill(box.zygote_pid, signal.SIGKILL)

        async with asyncio.timeout(15):  # of the 20 s that it may take
            assert (await alive).reason is Reason.CRASHED
    assert gone.cancelled()
    assert broken == []


async def test_leases_that_nobody_waits_for_any_more_leave_nothing() -> None:
    """Runs cancelled before they got a child leave neither a zygote nor warm children behind."""
    request = StartRequest(script=b"return 1")
    async with Sandbox(SPARES) as box:
        before = _count(os.getpid())
        for _ in range(5):
            many = [asyncio.create_task(box.run(request, answer)) for _ in range(20)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for one in many:
                one.cancel()
            await asyncio.wait(many, timeout=10)
        assert await Deadline().reached(
            lambda: _children(box.zygote_pid, SPARES), "no more than the warm children"
        )

        starting = asyncio.create_task(Sandbox(SPARES).start())
        await asyncio.sleep(0)  # it has started its zygote and cannot have heard of it
        assert _count(os.getpid()) == before + 1
        starting.cancel()
        await asyncio.wait([starting], timeout=10)
        assert _count(os.getpid()) == before


async def _children(zygote_pid: int, wanted: int) -> bool:
    return _count(zygote_pid) == wanted


def _count(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
