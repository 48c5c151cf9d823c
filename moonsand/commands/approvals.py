"""`moonsand approvals`: what runs ask of a person, and the answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from moonsand import connection
from moonsand import script_options as options
from moonsand.exits import Exit
from moonsand.terminal import pretty, safe, write_error, write_output

if TYPE_CHECKING:
    from moonsand.client import AsyncClient
    from runs.model import Approval, Decision

app = typer.Typer(no_args_is_help=True, help="What runs ask of a person, and the answers.")
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run that asks, `run_...`.")]
Number = Annotated[
    int, typer.Argument(metavar="N", min=1, help="Number of the question, as `list` shows it.")
]
Comment = Annotated[
    str | None, typer.Option(help="For the script; kept with the answer on the run's tape.")
]


@app.command("list")
def list_approvals(
    run: Annotated[str | None, typer.Option(help="All that this run asked, answered too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON approval a line.")] = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """List what waits for an answer, the oldest first."""
    found = asyncio.run(_list(connection.open_client(url, key), run))
    for one in found:
        if as_json:
            write_output(f"{one.model_dump_json()}\n")
        else:
            _write(one)
    if not found and not as_json:
        write_error("nothing waits for an answer" if run is None else f"{run} has asked nothing")
    return Exit.SUCCEEDED


@app.command()
def approve(
    run: RunId,
    n: Number,
    comment: Comment = None,
    as_json: options.AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """
    Approve what a run asks; it goes on.

    The key needs the scope runs:approve.
    """
    client = connection.open_client(url, key)
    return _told(asyncio.run(_answer(client, run, n, "approve", comment)), as_json=as_json)


@app.command()
def deny(
    run: RunId,
    n: Number,
    comment: Comment = None,
    as_json: options.AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """
    Deny what a run asks; its script gets an error.

    The key needs the scope runs:approve.
    """
    client = connection.open_client(url, key)
    return _told(asyncio.run(_answer(client, run, n, "deny", comment)), as_json=as_json)


async def _list(client: AsyncClient, run: str | None) -> list[Approval]:
    async with client:
        return await client.approvals(run)


async def _answer(
    client: AsyncClient, run: str, n: int, decision: Decision, comment: str | None
) -> Approval:
    async with client:
        return await client.answer(run, n, decision, comment=comment)


def _told(one: Approval, *, as_json: bool) -> int:
    done = "approved" if one.decision == "approve" else "denied"
    write_output(f"{one.model_dump_json()}\n" if as_json else f"{one.run} {one.n} {done}\n")
    return Exit.SUCCEEDED


def _write(one: Approval) -> None:
    until = datetime.fromtimestamp(one.until_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    state = f"until {until}"
    if one.decision is not None:
        said = f": {one.comment}" if one.comment else ""
        state = f"{one.decision} by {one.by}{said}"
    write_output(f"{one.run} {one.n}  {_line(one.title)}  ({_line(state)})\n")
    if one.function is not None:
        account = f" with account {one.account}" if one.account else ""
        write_output(f"  {_line(one.function)}{_line(account)}: {_line(one.preview or '')}\n")
    if one.details is not None:
        write_output("".join(f"  {line}\n" for line in pretty(one.details).splitlines()))


def _line(text: str) -> str:
    # A line break in what a script says must not look like another approval.
    return safe(text).replace("\n", "\\n").replace("\t", " ")
