"""`moonsand run`: one script in the jail, here and now, without Redis."""

from __future__ import annotations

import asyncio
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import Refused
from core.ids import new_id
from moonsand import local_plan
from moonsand import script_options as options
from moonsand.exits import Exit, of_result
from moonsand.local_accounts import accounts_of
from moonsand.local_mcp import McpFile, servers_of
from moonsand.signals import stop_signal
from moonsand.terminal import write_end, write_output
from runs.model import RunError, RunRequest, RunResult, State
from sandbox.outcome import Reason

if TYPE_CHECKING:
    from core.calls import CallRecord
    from core.plans import Plan

AccountsFile = Annotated[
    Path | None,
    typer.Option(
        "--accounts",
        envvar="MOONSAND_ACCOUNTS",
        help="TOML file of vendor accounts (`moonsand stubs` writes one to try).",
    ),
]
PacksDirectory = Annotated[
    Path | None,
    typer.Option("--packs", envvar="MOONSAND_PACKS_DIR", help="Directory of packs of your own."),
]


def run(
    file: options.File = None,
    code: options.Code = None,
    input: options.Input = None,
    as_json: options.AsJson = False,
    grant: options.Grant = None,
    grants: options.GrantsFile = None,
    force: options.Force = False,
    on_unknown: options.OnUnknown = "fail",
    accounts: AccountsFile = None,
    packs: PacksDirectory = None,
    mcp: McpFile = None,
    instructions: options.Instructions = None,
    memory_mb: options.MemoryMb = None,
    cpu_ms: options.CpuMs = None,
    wall_s: options.WallS = None,
    output_kb: options.OutputKb = None,
    calls: options.Calls = None,
    seed: options.Seed = None,
    plan: options.Plan = False,
    plan_out: Annotated[
        Path | None, typer.Option(help="With --plan: where to write the plan, for --apply.")
    ] = None,
    apply: Annotated[
        Path | None, typer.Option(help="Plan file: make its writes, in its order, and no others.")
    ] = None,
) -> int:
    """
    Run a script here, in the jail, without Redis.

    Exit code: 0 succeeded, 1 the script failed, 2 nothing was run, 3 our fault.
    """
    request = options.build_request(
        options.Source(file, code, input),
        options.LimitOptions(instructions, memory_mb, cpu_ms, wall_s, output_kb, calls),
        grants=options.GrantOptions(grant, grants, force),
        seed=seed,
        on_unknown=on_unknown,
        plan=plan,
    )
    request, held = local_plan.settle(request, apply, plan_out)
    watch = Watch(live=not as_json)
    result = asyncio.run(run_here(request, (accounts, packs), watch, mcp=mcp, plan=held))
    if plan_out is not None:
        local_plan.keep(result, plan_out)
    if watch.reader_left:
        raise watch.reader_left
    if as_json:
        sys.stdout.write(f"{result.model_dump_json()}\n")
    else:
        write_end(result)
    return Exit.INTERRUPTED if result.reason is Reason.CANCELLED else of_result(result)


#: The accounts file and the directory of packs of a local run.
Files = tuple[Path | None, Path | None]


class Watch:
    """Shows a run as it goes, and ends it when nobody reads what is shown."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self.stop: asyncio.Event | None = None
        self.reader_left: OSError | None = None

    def output(self, text: str) -> None:
        """Show printed text; this is called by the event loop, so nothing may be raised here."""
        if not self._live or self.reader_left:
            return
        try:
            write_output(text)
        except OSError as error:  # nobody reads it, or it has no place to go
            self.reader_left = error
            if self.stop is not None:
                self.stop.set()

    def call(self, record: CallRecord) -> None:
        """Take notice of a call; the result lists them all."""


async def run_here(
    request: RunRequest,
    files: Files,
    watch: Watch,
    *,
    listed: bool = False,
    mcp: Path | None = None,
    plan: Plan | None = None,
) -> RunResult:
    """
    Run a script here; even a host that cannot, or a bug of ours, is a result.

    `listed` gives the return values as a list even if there is one or none; `mcp` is a file of MCP
    servers; with a `plan` the run is held to it.

    Raises:
        Refused: something that was asked for cannot be given; nothing was run.
    """
    from sandbox.supervisor import SandboxUnavailable

    watch.stop = stop_signal()
    try:
        return await _run_jailed(request, files, watch, listed=listed, mcp=mcp, plan=plan)
    except SandboxUnavailable as error:
        hint = "`moonsand doctor` says what is missing"
        return _not_run(Reason.SANDBOX_UNAVAILABLE, RunError(message=str(error), hint=hint))
    except Refused:
        raise  # the command line names what cannot be given: nothing was run
    except Exception as error:  # noqa: BLE001 (under --json our bugs are a document too)
        traceback.print_exc()
        return _not_run(Reason.INTERNAL, RunError(message=f"internal error ({_kind(error)})"))


async def _run_jailed(
    request: RunRequest,
    files: Files,
    watch: Watch,
    *,
    listed: bool,
    mcp: Path | None,
    plan: Plan | None,
) -> RunResult:
    from integrations.catalog import Catalog
    from moonsand.local_policy import LocalPolicy
    from moonsand.terminal_approval import ask, can_ask
    from sandbox.supervisor import Sandbox
    from worker.local import run_local

    accounts, packs = files
    catalog = Catalog.load(operator=packs)
    grants = LocalPolicy.load().grants(request.grants, force=request.force)
    known = accounts_of(accounts, catalog)
    async with Sandbox(spares=1) as sandbox, servers_of(mcp) as servers:
        return await run_local(
            request,
            sandbox=sandbox,
            catalog=catalog,
            accounts=known,
            grants=grants,
            watch=watch,
            cancel=watch.stop,
            listed=listed,
            mcp=servers,
            ask=ask if can_ask() else None,
            plan=plan,
        )


def _kind(error: Exception) -> str:
    return type(error).__name__


def _not_run(reason: Reason, error: RunError) -> RunResult:
    return RunResult(id=new_id("run"), status=State.FAILED, reason=reason, error=error)
