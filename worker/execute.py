"""
Executes one run: sandbox, broker and tape put together.

Runs in: worker, CLI. Trusts: the supervisor's verdict, the broker. Refuses: nothing by itself.
May import: integrations, tenancy, ledger, runs, sandbox (never sandbox.child).

Neither `accepted`, `started` nor `finished` is written here: they belong to whoever owns the run's
record, who writes them in one step with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from integrations.throttle import ThrottleUnavailable
from ledger.recording import Recording
from ledger.tape import Entry, Kind, Tape, TapeError, TapeFull, TapeLost
from runs.endings import Ending
from runs.record import to_result
from runs.suspension import Suspension
from sandbox.calls import StartRequest
from sandbox.outcome import Fault, Outcome, Reason
from sandbox.parking import Parking
from sandbox.supervisor import SandboxUnavailable
from sandbox.surface import Surface
from worker.planned import planning_of, with_plan
from worker.surfaces import MemorySurfaces, Surfaces

if TYPE_CHECKING:
    import asyncio

    from core.calls import CallRecord
    from integrations.accounts import Accounts
    from integrations.broker import Broker, RunBroker
    from integrations.waits import WaitTerms
    from runs.model import RunResult
    from runs.spec import RunSpec
    from sandbox.supervisor import Sandbox


#: Functions of `mcp` that no server is asked for.
_TOLD_HERE = frozenset({"mcp.servers", "mcp.tools", "mcp.schema"})


#: Why a run is not executed again whose tape Redis lost in part.
LOST_TAPE = "Redis lost the end of this run's tape, so nobody knows what its calls did"


class Watcher(Protocol):
    """Told what happens in a run while it happens. Neither method may raise or wait."""

    def output(self, text: str) -> None:
        """Take a piece of the printed text."""
        ...

    def call(self, record: CallRecord) -> None:
        """Take a finished call."""
        ...


async def execute_run(  # noqa: PLR0913 (a composition: one parameter per part)
    spec: RunSpec,
    *,
    sandbox: Sandbox,
    broker: Broker,
    accounts: Accounts,
    tape: Tape,
    watch: Watcher | None = None,
    cancel: asyncio.Event | None = None,
) -> RunResult:
    """Execute one run to its end, as `execute` does, and give the result as it is shown."""
    ending = await execute(
        spec,
        sandbox=sandbox,
        broker=broker,
        accounts=accounts,
        tape=tape,
        watch=watch,
        cancel=cancel,
    )
    assert isinstance(ending, Ending)  # noqa: S101 (without `waiting` nothing is let go)
    return to_result(spec.run_id, ending, spec.mode)


async def execute(  # noqa: PLR0913 (a composition: one parameter per part)
    spec: RunSpec,
    *,
    sandbox: Sandbox,
    broker: Broker,
    accounts: Accounts,
    tape: Tape,
    watch: Watcher | None = None,
    cancel: asyncio.Event | None = None,
    recording: Recording | None = None,
    surfaces: Surfaces | None = None,
    waiting: WaitTerms | None = None,
) -> Ending | Suspension:
    """
    Execute one run to its end. Whatever goes wrong, ours or the script's, is in the ending.

    `recording` is what earlier attempts left on the tape: the script runs over it. `surfaces` keeps
    what scripts see. Setting `cancel` kills the child; cancelling this task does too, and then
    nothing is returned. With `waiting` a script that waits long is let go: a `Suspension`.
    """
    parking = Parking() if waiting is not None else None
    sends = _Sends(tape, recording)
    run = broker.open(
        tenant=spec.tenant,
        run_id=spec.run_id,
        grants=spec.grants,
        accounts=accounts,
        tape=sends,
        limits=spec.limits,
        recording=recording,
        raises=spec.raises,
        used_ms=spec.executed_ms,
        waiting=waiting,
        parking=parking,
        planning=planning_of(spec, recording),
    )
    if watch is not None:
        run.on_record = watch.call
    on_output = watch.output if watch is not None else None
    seen: str | None = None
    resumable = put_off = False
    try:
        surface, seen = await _surface(run, recording, surfaces or MemorySurfaces())
        request = _request(spec, surface)
        try:
            outcome = await sandbox.run(request, run.call, on_output, cancel, parking)
        finally:
            # A call that was in flight when the child died has an unknown effect: say so.
            await run.abandon()
    except LookupError as missing:
        structlog.get_logger(__name__).error("no_surface", run=spec.run_id, error=str(missing))
        reason, message = Reason.INTERNAL, str(missing)
    except TapeLost as lost:
        structlog.get_logger(__name__).error("tape_lost", run=spec.run_id, error=str(lost))
        reason, message = Reason.EFFECT_UNKNOWN, LOST_TAPE
    except TapeError as lost:
        resumable, put_off = True, isinstance(lost, TapeFull)
        structlog.get_logger(__name__).error("tape_lost", run=spec.run_id, error=str(lost))
        reason, message = Reason.INTERNAL, "the run's tape could not be written"
    except ThrottleUnavailable:
        resumable = True
        reason, message = Reason.INTERNAL, "nobody could count the run's requests"
    except SandboxUnavailable as missing:
        structlog.get_logger(__name__).error("no_sandbox", run=spec.run_id, error=str(missing))
        reason, message = Reason.SANDBOX_UNAVAILABLE, "no jailed process could be had"
    except Exception:  # noqa: BLE001 (whatever broke, the run must end)
        structlog.get_logger(__name__).exception("run_broke", run=spec.run_id)
        reason, message = Reason.INTERNAL, "an error of ours ended the run"
    else:
        if outcome.suspended:
            return Suspension(run.waiting, outcome.usage, outcome.output, _calls(run))
        return with_plan(_ending(outcome, run, sends.count, seen), spec, run)
    fault = Fault(f"{message}; {called(sends.count)}")
    ending = Ending(
        reason,
        error=fault,
        calls=_calls(run),
        sent=sends.count,
        surface_sha256=seen,
        resumable=resumable,
        put_off=put_off,
    )
    return with_plan(ending, spec, run)


async def _surface(
    run: RunBroker, recording: Recording | None, surfaces: Surfaces
) -> tuple[Surface, str]:
    """Give what the script sees, and its digest: what it saw when it made its first call."""
    if recording is not None and recording.surface_sha256 is not None:
        known = recording.surface_sha256
        return await surfaces.find(known), known
    surface = run.surface()
    sha256 = await surfaces.keep(surface)
    run.note_surface(sha256)
    return surface, sha256


def _request(spec: RunSpec, surface: Surface) -> StartRequest:
    return StartRequest(
        script=spec.script,
        input=spec.input,
        limits=spec.limits,
        seed=spec.seed,
        clock_ms=spec.clock_ms,
        surface=surface,
        name=spec.name,
        listed=spec.listed,
        wall_used_ms=spec.executed_ms,
    )


def called(count: int) -> str:
    """Say how many external calls had been made."""
    if count == 0:
        return "no external call had been made"
    return f"{count} external call{'s' * (count > 1)} had been made"


def is_outside(name: str) -> bool:
    """Tell whether a call of this name leaves the worker, as most do that are not about names."""
    return not name.startswith("docs.") and name not in _TOLD_HERE


class _Sends:
    """A tape that counts the external calls that were begun."""

    def __init__(self, tape: Tape, recording: Recording | None) -> None:
        self._tape = tape
        before = recording.calls.values() if recording is not None else ()
        self._begun = {call.seq for call in before if call.began and is_outside(call.name)}

    @property
    def count(self) -> int:
        """Give how many calls were begun, in this attempt or an earlier one."""
        return len(self._begun)

    async def append(self, kind: Kind, body: Mapping[str, Any]) -> Entry:
        entry = await self._tape.append(kind, body)
        if kind is Kind.INTENT and is_outside(body["name"]):
            self._begun.add(body["seq"])
        return entry


def _ending(outcome: Outcome, run: RunBroker, sent: int, surface_sha256: str) -> Ending:
    left = run.verdict(outcome.reason)
    return Ending(
        reason=Reason.DIVERGED if left is not None else outcome.reason,
        usage=outcome.usage,
        result=b"null" if left is not None else outcome.result,
        output=outcome.output,
        error=left or outcome.error,
        surface_sha256=surface_sha256,
        calls=_calls(run),
        sent=sent,
    )


def _calls(run: RunBroker) -> list[dict[str, Any]]:
    return [record.to_json() for record in run.calls]
