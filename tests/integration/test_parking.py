"""A real child is let go when it waits for nothing but parked calls, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sandbox.calls import Call, FunctionSurface, Reply, StartRequest
from sandbox.limits import Limits
from sandbox.outcome import Reason
from sandbox.parking import Parking
from sandbox.supervisor import Sandbox

pytestmark = pytest.mark.jail
SURFACE = {"demo": FunctionSurface(["far", "near"])}
ALONE = b"app.integrations.demo.far() return 1"
BESIDE = b"""
parallel.all({
  function() app.integrations.demo.far() end,
  function()
    for i = 1, 3 do
      local n = 0
      while n < 300000 do n = n + 1 end
      app.integrations.demo.near(i)
    end
    print("done")
  end,
})
"""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The real jail."""
    async with Sandbox(1) as box:
        yield box


class Answers:
    """Answers `near` after a moment and parks `far` until `come` is set."""

    def __init__(self) -> None:
        self.parking = Parking()
        self.come = asyncio.Event()
        self.near: list[bytes] = []

    async def __call__(self, call: Call) -> Reply:
        """Answer one call."""
        if call.function == "far":
            self.parking.park(call.seq)
            await self.come.wait()
            self.parking.take_back(call.seq)
        else:
            await asyncio.sleep(0)
            self.near.append(call.arguments)
        return Reply(ok=True, body=b"true", clock_ms=1)


def request(script: bytes) -> StartRequest:
    """Make a run of a script that may call both."""
    return StartRequest(script, surface=SURFACE, limits=Limits(wall_ms=20_000))


async def test_a_child_that_only_waits_is_let_go(sandbox: Sandbox) -> None:
    """Its outcome says so, and gives neither result nor a limit that was passed."""
    answers = Answers()
    outcome = await sandbox.run(request(ALONE), answers, parking=answers.parking)

    assert (outcome.suspended, outcome.result) == (True, b"null")


async def test_what_can_go_on_goes_on_first(sandbox: Sandbox) -> None:
    """A task that computes and calls beside a parked call comes to its end first."""
    answers = Answers()
    outcome = await sandbox.run(request(BESIDE), answers, parking=answers.parking)

    assert outcome.suspended
    assert answers.near == [b"[1]", b"[2]", b"[3]"]
    assert outcome.output == "done\n"


async def test_a_call_that_was_taken_back_is_answered(sandbox: Sandbox) -> None:
    """While another call is on its way, a parked one can still be answered in place."""
    answers = Answers()

    async def answer(call: Call) -> Reply:
        if call.function == "near":
            answers.come.set()
            await asyncio.sleep(0)
        return await answers(call)

    script = b"""
    return parallel.all({ app.integrations.demo.far, app.integrations.demo.near })
    """
    outcome = await sandbox.run(request(script), answer, parking=answers.parking)

    assert (outcome.reason, outcome.suspended) == (Reason.OK, False)


async def test_a_run_without_a_parked_call_is_not_let_go(sandbox: Sandbox) -> None:
    """A call that nobody parked is waited for, as ever."""
    answers = Answers()
    script = b"return app.integrations.demo.near(1)"
    outcome = await sandbox.run(request(script), answers, parking=answers.parking)

    assert (outcome.reason, outcome.suspended) == (Reason.OK, False)
