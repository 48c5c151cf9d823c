"""What it takes to execute a run again over its tape, beside the run itself with its vendor."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from benchmarks import vendor
from benchmarks.calls import Worker, worker_at
from benchmarks.figures import Row, median, spread
from core import keys
from core.clock import now_ms
from core.ids import new_id
from integrations.replayed import Replayed
from ledger.recording import Recording
from ledger.redis_tape import RedisTape, scan_tape
from runs.endings import Ending
from runs.spec import RunSpec
from sandbox.calls import FunctionSurface, StartRequest
from sandbox.limits import Limits
from sandbox.outcome import Outcome, Reason
from tenancy.grants import Grants
from worker.event_writer import EventWriter
from worker.execute import execute
from worker.surfaces import MemorySurfaces

ROUNDS = 15
CALLS = 50
_SCRIPT = f"""
local get = app.integrations.bench.get_asset
local ready = 0
for n = 1, {CALLS} do
  local asset = get({{ asset_id = "asset-" .. n }})
  if asset.data.status == "ready" then ready = ready + 1 end
  print(n, ready)
end
return ready
"""


@dataclass(slots=True)
class _Recorded:
    """A run that was executed, with what its script saw."""

    spec: RunSpec
    ending: Ending
    surfaces: MemorySurfaces
    took_ms: float


async def replays() -> list[Row]:
    """Measure a run of some calls and its replay, in turn."""
    first: list[float] = []
    again: list[float] = []
    with vendor.served() as url:
        async with worker_at(url) as worker:
            await _replay_ms(worker, await _record(worker))
            for _ in range(ROUNDS):
                recorded = await _record(worker)
                first.append(recorded.took_ms)
                again.append(await _replay_ms(worker, recorded))
    ratio = median([a / b for a, b in zip(again, first, strict=True)])
    peer = "the run itself, loopback vendor: " + spread(first, "ms")
    what = f"replay of a run of {CALLS} calls, tape read from Redis, p50"
    return [Row(what, spread(again, "ms"), peer, f"{ratio:.2f}", "")]


async def _record(worker: Worker) -> _Recorded:
    spec = RunSpec(
        run_id=new_id("run"),
        tenant="bench",
        name="bench",
        script=_SCRIPT.encode(),
        input=b"null",
        limits=Limits(),
        seed=1,
        clock_ms=now_ms(),
        grants=Grants.everything(),
    )
    surfaces = MemorySurfaces()
    await worker.redis.xadd(
        keys.tape(spec.run_id), {"kind": "accepted", "at_ms": 1, "body": "{}"}, id="1-0"
    )
    loop = asyncio.get_running_loop()
    began_s = time.perf_counter()
    ending = await execute(
        spec,
        sandbox=worker.sandbox,
        broker=worker.broker,
        accounts=worker.accounts.for_tenant("bench"),
        tape=RedisTape(worker.redis, spec.run_id, 2),
        watch=EventWriter(spec.run_id, loop.call_later, worker.outbox.send),
        surfaces=surfaces,
    )
    took_ms = (time.perf_counter() - began_s) * 1000
    assert isinstance(ending, Ending)
    assert ending.reason is Reason.OK, ending
    return _Recorded(spec, ending, surfaces, took_ms)


async def _replay_ms(worker: Worker, recorded: _Recorded) -> float:
    spec = recorded.spec
    (sha256,) = recorded.surfaces.texts
    surface = await recorded.surfaces.find(sha256)
    began_s = time.perf_counter()
    outcome = await _replay(worker, spec, dict(surface))
    took_ms = (time.perf_counter() - began_s) * 1000
    ending = recorded.ending
    assert (outcome.result, outcome.output) == (ending.result, ending.output)
    assert outcome.usage.instructions == ending.usage.instructions
    return took_ms


async def _replay(worker: Worker, spec: RunSpec, surface: dict[str, FunctionSurface]) -> Outcome:
    recording = await Recording.read(scan_tape(worker.redis, spec.run_id))
    answers = Replayed(recording, raises=False, ended=Reason.OK)
    request = StartRequest(
        script=spec.script,
        input=spec.input,
        limits=spec.limits,
        seed=spec.seed,
        clock_ms=spec.clock_ms,
        surface=surface,
        name=spec.name,
    )
    outcome = await worker.sandbox.run(request, answers.call)
    assert answers.departure(outcome.reason) is None
    return outcome
