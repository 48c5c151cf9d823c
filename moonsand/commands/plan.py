"""`moonsand plan` and `moonsand apply`: plans of runs in a service, shown, approved, applied."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from moonsand import connection
from moonsand import script_options as options
from moonsand.exits import Exit, of_result
from moonsand.terminal import plan_lines, safe, write_end, write_error, write_output

if TYPE_CHECKING:
    from moonsand.client import AsyncClient
    from moonsand.plan_asks import PlanState
    from runs.model import RunRecord

app = typer.Typer(no_args_is_help=True, help="What runs planned, and its approval.")
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run that planned, `run_...`.")]
Digest = Annotated[
    str | None, typer.Option(help="Refuse a plan that has another digest than this.")
]


@app.command()
def show(
    run: RunId,
    as_json: options.AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Show the writes that a run planned, and whether they are approved and applied."""
    kept = asyncio.run(_show(connection.open_client(url, key), run))
    _write(kept, as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def approve(
    run: RunId,
    digest: Digest = None,
    comment: Annotated[str | None, typer.Option(help="Why; kept with the approval.")] = None,
    as_json: options.AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """
    Approve a plan, once: with --digest exactly the one that was looked at, else as it is now.

    The key needs the scope runs:approve.
    """
    client = connection.open_client(url, key)
    kept = asyncio.run(_approve(client, run, digest, comment))
    _write(kept, as_json=as_json)
    return Exit.SUCCEEDED


def apply(
    run: RunId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end.")] = False,
    digest: Digest = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same again gives the run that was started.")
    ] = None,
    as_json: options.AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """
    Apply an approved plan, once: run its script again, held to the writes of the plan.

    Exit code with --wait: 0 succeeded, 1 the script failed, 2 nothing was run, 3 our fault.
    """
    client = connection.open_client(url, key)
    record = asyncio.run(_apply(client, run, digest, idempotency_key, wait=wait))
    if as_json:
        write_output(f"{record.model_dump_json()}\n")
    elif not wait:
        write_output(f"{record.id}\n")
    else:
        write_output(record.output)
        write_end(record)
    return of_result(record) if wait else Exit.SUCCEEDED


async def _show(client: AsyncClient, run: str) -> PlanState:
    async with client:
        return await client.plan(run)


async def _approve(
    client: AsyncClient, run: str, digest: str | None, comment: str | None
) -> PlanState:
    async with client:
        seen = digest if digest is not None else (await client.plan(run)).plan.digest
        return await client.approve_plan(run, seen, comment=comment)


async def _apply(
    client: AsyncClient, run: str, digest: str | None, idempotency_key: str | None, *, wait: bool
) -> RunRecord:
    async with client:
        record = await client.apply(run, digest=digest, idempotency_key=idempotency_key)
        if not wait:
            return record
        try:
            return await client.wait(record.id)
        except asyncio.CancelledError:
            write_error(f"it goes on; `moonsand logs -f {record.id}` follows it")
            raise


def _write(kept: PlanState, *, as_json: bool) -> None:
    if as_json:
        write_output(f"{kept.model_dump_json()}\n")
        return
    write_output(f"{plan_lines(kept.run, kept.plan)}\n")
    approval = kept.approval
    if approval is None:
        write_output("not approved\n")
        return
    comment = f": {safe(str(approval['comment']))}" if approval.get("comment") else ""
    write_output(f"approved by {safe(str(approval['by']))}{comment}\n")
    write_output(f"applied by {kept.applied_by}\n" if kept.applied_by else "not applied\n")
