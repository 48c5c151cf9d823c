"""`moonsand submit`, `logs`, `cancel`: the HTTP API from the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moonsand import connection
from moonsand import script_options as options
from moonsand.commands.check import write_finding
from moonsand.exits import Exit, UsageFault, of_result
from moonsand.terminal import safe, write_end, write_error, write_output
from runs.model import Priority, RunRecord, RunRequest, RunResult, State

if TYPE_CHECKING:
    from moonsand.cancel_asks import CancelOptions
    from moonsand.client import AsyncClient
    from moonsand.exchange import CheckFailed, Event

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, `run_...`.")]

SavedOrFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="Lua file, or a saved script: `name@version`, `name@alias`, `name@latest`; `-` or "
        "nothing reads the script from stdin.",
    ),
]


def submit(
    file: SavedOrFile = None,
    code: options.Code = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check it first; submit nothing that is wrong.")
    ] = False,
    input: options.Input = None,
    as_json: options.AsJson = False,
    grant: options.Grant = None,
    grants: options.GrantsFile = None,
    force: options.Force = False,
    on_unknown: options.OnUnknown = "fail",
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="The same submission again with the same key gives the same run."),
    ] = None,
    plan: options.Plan = False,
    priority: Annotated[
        Priority, typer.Option(help="Before or after other queued runs of the tenant.")
    ] = Priority.NORMAL,
    expires_at: Annotated[
        str | None,
        typer.Option(help="RFC 3339 time: if nobody has begun it by then, it ends as `expired`."),
    ] = None,
    callback: Annotated[
        str | None,
        typer.Option(help="Who is told of its end: a callback endpoint's id, or an address."),
    ] = None,
    instructions: options.Instructions = None,
    memory_mb: options.MemoryMb = None,
    cpu_ms: options.CpuMs = None,
    wall_s: options.WallS = None,
    output_kb: options.OutputKb = None,
    calls: options.Calls = None,
    seed: options.Seed = None,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """
    Submit a script to a service; print the run's id, or with --wait follow it to its end.

    Exit code with --wait: 0 succeeded, 1 the script failed, 2 nothing was run, 3 our fault.
    With --check, it is 1 also when the check found something.
    """
    from moonsand.exchange import CheckFailed

    request = options.build_request(
        options.Source(file, code, input),
        options.LimitOptions(instructions, memory_mb, cpu_ms, wall_s, output_kb, calls),
        grants=options.GrantOptions(grant, grants, force),
        seed=seed,
        on_unknown=on_unknown,
        plan=plan,
        saved=True,
    )
    request = request.model_copy(update={"priority": priority, "expires_at": expires_at})
    request = request.model_copy(update={"callback": callback})
    how = _How(wait, check, as_json, idempotency_key)
    try:
        return asyncio.run(_submit(request, connection.open_client(url, key), how))
    except CheckFailed as failed:
        _show_findings(failed, request.name, as_json=as_json)
        return Exit.FAILED


@dataclass(frozen=True, slots=True)
class _How:
    """What to do about a submission, as the command line says."""

    wait: bool
    check: bool
    as_json: bool
    idempotency_key: str | None = None


async def _submit(request: RunRequest, client: AsyncClient, how: _How) -> int:
    as_json = how.as_json
    async with client:
        record = await client.submit_request(
            request, check=how.check, idempotency_key=how.idempotency_key
        )
        if not how.wait:
            write_output(f"{record.model_dump_json() if as_json else record.id}\n")
            return Exit.SUCCEEDED
        try:
            if not as_json:
                await _follow(client, record.id)
            record = await client.wait(record.id)
        except asyncio.CancelledError:
            write_error(f"it goes on; `moonsand logs -f {record.id}` follows it")
            raise
    return _show_end(record, as_json=as_json)


def _show_findings(failed: CheckFailed, name: str, *, as_json: bool) -> None:
    if as_json:
        write_output(f"{json.dumps({'ok': False, 'findings': failed.findings})}\n")
        return
    for one in failed.findings:
        place = f"{name}:{one['line']}:{one['column']}"
        write_finding(place, one["code"], one["message"], one["hint"])
    write_error("nothing was submitted")


def logs(
    run: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the run ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON event a line.")] = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Show what a run printed, and with -f go on until it ends, then show its result."""
    return asyncio.run(_logs(connection.open_client(url, key), run, follow=follow, as_json=as_json))


async def _logs(client: AsyncClient, run: str, *, follow: bool, as_json: bool) -> int:
    async with client:
        record = await client.get(run)
        if not follow and not record.status.terminal:
            write_output(record.output)
            write_error(f"{run} is {record.status}; -f follows it")
            return Exit.SUCCEEDED
        async for event in client.events(run):
            if as_json:
                row = {"id": event.id, "type": event.type, "data": event.data}
                write_output(json.dumps(row) + "\n")
            else:
                _show_event(event)
        record = await client.get(run)
    return of_result(record) if as_json else _show_end(record, as_json=False)


async def _follow(client: AsyncClient, run: str) -> None:
    async for event in client.events(run):
        _show_event(event)


def _show_event(event: Event) -> None:
    if event.type == "log":
        write_output(str(event.data.get("text", "")))


def cancel(
    run: Annotated[str | None, typer.Argument(help="Id of a run, `run_...`.")] = None,
    all_runs: Annotated[
        bool, typer.Option("--all", help="All runs of the tenant that have not ended.")
    ] = False,
    state: Annotated[
        list[State] | None, typer.Option(help="With --all: only those in this state; repeatable.")
    ] = None,
    priority: Annotated[
        Priority | None, typer.Option(help="With --all: only those of this priority.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="With --all: only those of this name.")] = None,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Ask for the end of a run, or with --all of many."""
    options: CancelOptions = {}
    if state:
        options["state"] = state
    if priority is not None:
        options["priority"] = priority
    if name is not None:
        options["name"] = name
    if all_runs == (run is not None) or (options and not all_runs):
        raise UsageFault("name one RUN, or say --all; what narrows it stands with --all")
    client = connection.open_client(url, key)
    return asyncio.run(_cancel(client, run) if run else _cancel_many(client, options))


async def _cancel_many(client: AsyncClient, options: CancelOptions) -> int:
    ended = stopping = 0
    async with client:
        while True:
            done = await client.cancel_runs(**options)
            ended, stopping = ended + done.ended, stopping + done.stopping
            if not done.has_more or not (done.ended or done.stopping):
                break
    write_output(f"{ended} cancelled, {stopping} asked to stop\n")
    return Exit.SUCCEEDED


async def _cancel(client: AsyncClient, run: str) -> int:
    async with client:
        record = await client.cancel(run)
    told = record.status if record.status.terminal else "asked to stop"
    write_output(f"{record.id} {told}\n")
    return Exit.SUCCEEDED


def list_runs(
    state: State | None, limit: int, *, as_json: bool, url: str | None, key: str | None
) -> int:
    """List runs, newest first."""
    return asyncio.run(_runs(connection.open_client(url, key), state, limit, as_json=as_json))


async def _runs(client: AsyncClient, state: State | None, limit: int, *, as_json: bool) -> int:
    async with client:
        page = await client.list(state=state, limit=limit)
    for run in page.runs:
        write_output(f"{run.model_dump_json() if as_json else _row(run)}\n")
    return Exit.SUCCEEDED


def _row(run: RunRecord) -> str:
    when = datetime.fromtimestamp(run.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{run.id}  {when}  {run.status:<9}  {run.reason or '':<18}  {safe(run.name)}"


def _show_end(record: RunRecord, *, as_json: bool) -> int:
    if as_json:
        fields = set(RunResult.model_fields)
        sys.stdout.write(f"{record.model_dump_json(include=fields)}\n")
    else:
        write_end(record)
    return of_result(record)
