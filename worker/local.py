"""
One run on this machine, without Redis: what `moonsand run` does.

Runs in: CLI. Trusts: its caller, whose own accounts it uses. Refuses: a malformed request.
May import: integrations, tenancy, ledger, runs, sandbox (never sandbox.child).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from core.clock import Clock, now_ms
from core.ids import new_id
from core.plans import Mode, Plan
from integrations.broker import Broker
from integrations.grant_names import check_taking
from integrations.vendor_http import VendorHttp
from ledger.recording import Recording
from ledger.tape import Kind, MemoryTape
from runs.accept import check_request
from runs.endings import Ending
from runs.record import to_result
from runs.spec import RunSpec
from runs.store import ID_PREFIX
from runs.suspension import Suspension
from tenancy.grants import GrantSet
from worker.execute import Watcher, execute
from worker.local_waits import Ask, LocalWaits, Once
from worker.surfaces import MemorySurfaces

if TYPE_CHECKING:
    from integrations.accounts import Accounts
    from integrations.catalog import Catalog
    from integrations.mcp.run_servers import McpServers
    from runs.model import RunRequest, RunResult
    from sandbox.supervisor import Sandbox
    from tenancy.grants import Grants


async def run_local(  # noqa: PLR0913 (a composition: one parameter per part)
    request: RunRequest,
    *,
    sandbox: Sandbox,
    catalog: Catalog,
    accounts: Accounts,
    grants: Grants,
    watch: Watcher | None = None,
    cancel: asyncio.Event | None = None,
    clock: Clock = now_ms,
    tape: MemoryTape | None = None,
    listed: bool = False,
    mcp: McpServers | None = None,
    ask: Ask | None = None,
    plan: Plan | None = None,
) -> RunResult:
    """
    Run a script to its end; whatever the script did wrong is in the result.

    `tape` is where the run's tape is kept, for who wants to read it afterwards; `listed` gives
    the return values as a list even if there is one or none. `mcp` are the servers a script may
    call; their connections are the caller's to close. `ask` asks a person for approvals.
    With a `plan` the run is held to it.

    Raises:
        Conflict: the request is not what the plan was made of.
        Invalid: the request is malformed.
        TooLarge: the script or the input has too many bytes.
        SandboxUnavailable: this host cannot jail a process; nothing was run.
    """
    checked = check_request(request)
    check_taking(GrantSet.parse(checked.grants or ()), catalog)
    spec = RunSpec(
        run_id=new_id(ID_PREFIX),
        tenant=None,
        name=checked.name,
        script=checked.script,
        input=checked.input,
        limits=checked.limits,
        seed=checked.seed,
        clock_ms=clock(),
        grants=grants.forced(force=checked.force),
        listed=listed,
        raises=request.on_unknown == "raise",
        mode=checked.mode if plan is None else Mode.APPLY,
        plan=plan,
    )
    if plan is not None:
        plan.terms.check(spec.plan_terms())
    await sandbox.start()
    tape = MemoryTape(clock) if tape is None else tape
    await tape.append(Kind.ACCEPTED, _accepted(spec))
    await tape.append(Kind.STARTED, {"attempt": 1, "clock_ms": spec.clock_ms})
    http = VendorHttp()
    waits, once = LocalWaits(spec.clock_ms, clock, ask), Once(watch) if watch is not None else None

    async def attempt(spec: RunSpec, recording: Recording | None) -> Ending | Suspension:
        return await execute(
            spec,
            sandbox=sandbox,
            broker=broker,
            accounts=accounts,
            tape=tape,
            watch=once,
            cancel=cancel,
            recording=recording,
            surfaces=surfaces,
            waiting=waits.terms(),
        )

    broker, surfaces = Broker(catalog, http, clock, mcp=mcp), MemorySurfaces()
    try:
        ending = await _to_the_end(attempt, spec, waits, once, tape, cancel)
    finally:
        await http.close()
    await tape.append(Kind.FINISHED, {"reason": ending.reason, "usage": ending.usage.to_json()})
    return to_result(spec.run_id, ending, spec.mode)


async def _to_the_end(  # noqa: PLR0913, PLR0917 (the parts of one run, each once)
    attempt: Callable[[RunSpec, Recording | None], Awaitable[Ending | Suspension]],
    spec: RunSpec,
    waits: LocalWaits,
    once: Once | None,
    tape: MemoryTape,
    cancel: asyncio.Event | None,
) -> Ending:
    """Execute again, over the tape, as often as the script waits."""
    how = await attempt(spec, None)
    while isinstance(how, Suspension):
        ended = await waits.over(how, cancel)
        if ended is not None:
            return ended
        spec = replace(spec, attempt=spec.attempt + 1, executed_ms=how.usage.wall_ms)
        await tape.append(Kind.STARTED, {"attempt": spec.attempt, "clock_ms": spec.clock_ms})
        if once is not None:
            once.begin()
        how = await attempt(spec, Recording.of(tape.entries))
    return how


def _accepted(spec: RunSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "script_sha256": hashlib.sha256(spec.script).hexdigest(),
        "input_sha256": hashlib.sha256(spec.input).hexdigest(),
        "limits": spec.limits.to_json(),
        "grants": spec.grants.to_json(),
        "seed": spec.seed,
        "mode": spec.mode.value,
    }
