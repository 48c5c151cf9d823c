"""Calls in flight together: the real jail, the broker and a stub of Mux that takes its time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.calls import Effect
from core.clock import now_ms
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault
from ledger.tape import Entry, Kind, MemoryTape, TapeError
from runs.model import RunRequest, RunResult
from sandbox.calls import Call, EndRun, FunctionSurface, Reply, StartRequest
from sandbox.limits import MIB, Limits
from sandbox.outcome import Reason
from sandbox.supervisor import Sandbox
from tenancy.grants import Grants
from tests.deadline import Deadline
from tests.mux_runs import mux_run, stub_accounts, whole_catalog
from worker.local import run_local

pytestmark = pytest.mark.jail
EXAMPLE = Path(__file__).parents[2] / "examples" / "parallel.lua"
HUNDRED = """
local numbers = {}
for i = 1, 100 do numbers[i] = i end
local found = parallel.map(numbers, function(i)
  return app.integrations.heygen.get_current_user({})
end, { concurrency = 20 })
return #found
"""
TRACE = """
local order = {}
parallel.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9 }, function(i)
  for n = 1, i % 3 + 1 do
    local heard = app.integrations.demo.echo(i * 10 + n)
    order[#order + 1] = heard
    print(i, n, os.time())
  end
end, { concurrency = 5 })
return order
"""
SURFACE = {"demo": FunctionSurface(["echo"])}


async def run_script(
    stubs: Stubs,
    script: str,
    tape: MemoryTape,
    limits: dict[str, int] | None = None,
    cancel: asyncio.Event | None = None,
) -> RunResult:
    """Run a script locally, with the stub's accounts, over a tape to look at."""
    async with Sandbox(1) as sandbox:
        return await run_local(
            RunRequest(script=script, limits=limits or {}),
            sandbox=sandbox,
            catalog=whole_catalog(),
            accounts=stub_accounts(stubs),
            grants=Grants.everything(),
            tape=tape,
            cancel=cancel,
        )


def effects(tape: MemoryTape) -> list[int]:
    """Give the numbers of the calls in the order of their effects."""
    return [entry.body["seq"] for entry in tape.entries if entry.kind is Kind.EFFECT]


def test_the_example_runs(stubs: Stubs) -> None:
    """The example of the documents prints what it says."""
    result = asyncio.run(run_script(stubs, EXAMPLE.read_text(), MemoryTape(now_ms)))

    assert result.reason is Reason.OK, result.error
    assert result.output.endswith("assets on 8 pages\n1\tnot_found\n")


def test_a_hundred_calls_are_in_flight_together(stubs: Stubs) -> None:
    """At concurrency 20 the vendor has 20 requests at once, five times over."""
    # Mux allows five requests a second, and is not asked for more: HeyGen names no such rate.
    stubs["heygen"].faults.add(Fault("gather", times=100, together=20))
    tape = MemoryTape(now_ms)
    result = asyncio.run(run_script(stubs, HUNDRED, tape))

    assert (result.reason, result.result) == (Reason.OK, 100)
    assert [call.seq for call in result.calls] == list(range(1, 101))
    assert sorted(effects(tape)) == list(range(1, 101))


def test_what_is_in_flight_when_a_run_ends_is_written_down(stubs: Stubs) -> None:
    """Every call that was begun has its effect on the tape: writes that were sent are unknown."""
    script = """
        parallel.map({ 1, 2, 3 }, function(i)
          app.integrations.mux.create_asset({ input = "https://example.com/" .. i .. ".mp4" })
        end)
    """
    stubs.mux_faults.add(Fault("delay", "POST /video/v1/assets", times=9, seconds=5))
    tape = MemoryTape(now_ms)

    async def all_there() -> bool:
        return stubs.mux_faults.counts["POST /video/v1/assets"] == 3

    async def cancelled() -> RunResult:
        cancel = asyncio.Event()
        run = asyncio.create_task(run_script(stubs, script, tape, cancel=cancel))
        await Deadline().reached(all_there, "the three requests")
        cancel.set()
        return await run

    result = asyncio.run(cancelled())
    assert result.reason is Reason.CANCELLED
    assert [(call.seq, call.effect) for call in result.calls] == [
        (seq, Effect.UNKNOWN) for seq in (1, 2, 3)
    ]
    assert sorted(effects(tape)) == [1, 2, 3]


class Recorder:
    """Answers calls in an order of its own, and keeps it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self.order: list[int] = []

    async def answer(self, call: Call) -> Reply | EndRun:
        """Take a place in the order, then return in some other order."""
        await self._others_first()
        self.order.append(call.seq)
        place = len(self.order)
        await self._others_first()
        return reply(call, place)

    async def _others_first(self) -> None:
        """Let whoever else is ready go on, so many times."""
        for _ in range(self._random.randint(0, 30)):
            await asyncio.sleep(0)


class Replayed:
    """Answers calls at once, each with the place it had in a recorded order."""

    def __init__(self, order: list[int]) -> None:
        self._places = {seq: place for place, seq in enumerate(order, 1)}

    async def answer(self, call: Call) -> Reply | EndRun:
        """Give the call the place it had."""
        return reply(call, self._places[call.seq])


def reply(call: Call, place: int) -> Reply:
    """Give the argument back."""
    return Reply(True, orjson.dumps(orjson.loads(call.arguments)[0]), 5000 * place, place)


@pytest.mark.parametrize("seed", range(4))
async def test_a_run_over_the_same_order_is_the_same(seed: int) -> None:
    """Whatever the times, the recorded order of effects makes the same run, to the instruction."""
    recorder = Recorder(seed)
    request = StartRequest(script=TRACE.encode(), surface=SURFACE)
    async with Sandbox(1) as sandbox:
        first = await sandbox.run(request, recorder.answer)
        again = await sandbox.run(request, Replayed(recorder.order).answer)

    assert first.reason is Reason.OK, first.error
    assert len(orjson.loads(first.result)) == len(recorder.order) == 18
    assert (again.result, again.output) == (first.result, first.output)
    assert again.usage.instructions == first.usage.instructions


class Crowd:
    """Answers calls slowly, and notes how many are under way at most."""

    def __init__(self) -> None:
        self._here = self.most = 0

    async def answer(self, call: Call) -> Reply | EndRun:
        """Stay for a while."""
        self._here += 1
        self.most = max(self.most, self._here)
        for _ in range(100):
            await asyncio.sleep(0)
        self._here -= 1
        return Reply(True, call.arguments, 0)


@pytest.mark.parametrize(("reply_mib", "at_once"), [(1, 64), (4, 32), (16, 8)])
async def test_replies_of_a_run_cannot_fill_the_worker(reply_mib: int, at_once: int) -> None:
    """No more calls are answered at once than their largest replies have room for together."""
    script = """
        local many = {}
        for i = 1, 64 do many[i] = i end
        return #parallel.map(many, app.integrations.demo.echo, { concurrency = 64 })
    """
    limits = Limits(reply_bytes=reply_mib * MIB)
    request = StartRequest(script=script.encode(), surface=SURFACE, limits=limits)
    crowd = Crowd()
    async with Sandbox(1) as sandbox:
        outcome = await sandbox.run(request, crowd.answer)

    assert (outcome.reason, outcome.result) == (Reason.OK, b"64"), outcome.error
    assert 1 < crowd.most <= at_once


class FailingTape(MemoryTape):
    """A tape that cannot be written after so many entries."""

    def __init__(self, entries: int) -> None:
        super().__init__(now_ms)
        self._left = entries

    async def append(self, kind: Kind, body: Mapping[str, Any]) -> Entry:
        """Write, or refuse."""
        await asyncio.sleep(0)
        self._left -= 1
        if self._left < 0:
            raise TapeError("the tape is away")
        return await super().append(kind, body)


DOCS = """
parallel.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function()
  while true do docs.list() end
end)
"""


@pytest.mark.parametrize("entries", [2, 3, 9, 10, 17, 18, 25])
def test_a_lost_tape_ends_the_run_with_calls_in_flight(stubs: Stubs, entries: int) -> None:
    """Wherever the tape is lost, the run ends at once as our fault, and nothing is left over."""
    tape = FailingTape(entries)
    with suppress(TapeError):  # `finished` cannot be written either
        asyncio.run(asyncio.wait_for(run_script(stubs, DOCS, tape), timeout=20))

    kinds = [entry.kind for entry in tape.entries]
    assert len(kinds) == entries
    assert Kind.FINISHED not in kinds


def test_an_unknown_effect_ends_the_run_with_calls_in_flight(stubs: Stubs) -> None:
    """One write whose fate nobody knows ends the run; the others get their effects all the same."""
    script = """
        local mux = app.integrations.mux
        parallel.map({ 1, 2, 3 }, function(i)
          if i == 3 then return mux.create_asset({ input = "https://a.example/v.mp4" }) end
          return mux.list_assets({ limit = i })
        end)
        print("not reached")
    """
    stubs.mux_faults.add(Fault("drop", "POST /video/v1/assets"))
    stubs.mux_faults.add(Fault("delay", "GET /video/v1/assets", times=9, seconds=5))
    tape = MemoryTape(now_ms)
    result = asyncio.run(run_script(stubs, script, tape))

    assert (result.reason, result.output) == (Reason.EFFECT_UNKNOWN, "")
    assert [(call.seq, call.effect) for call in result.calls] == [
        (1, Effect.FAILED),
        (2, Effect.FAILED),
        (3, Effect.UNKNOWN),
    ]
    assert effects(tape)[0] == 3


async def test_a_reply_carries_the_place_of_its_effect(stubs: Stubs) -> None:
    """Calls answered together say in which order their effects stand on the tape."""
    async with mux_run(stubs) as run:
        answers = await asyncio.gather(
            *(run.answer("docs.list") for _ in range(5)),
            *(run.answer("mux.list_assets", {"limit": n}) for n in range(1, 6)),
        )
        places = {
            seq: answer.order for seq, answer in enumerate(answers, 1) if isinstance(answer, Reply)
        }
        assert [record.seq for record in run.broker.calls] == list(range(1, 11))

    assert sorted(places, key=lambda seq: places[seq] or 0) == effects(run.tape)
    assert sorted(place or 0 for place in places.values()) == list(range(1, 11))
