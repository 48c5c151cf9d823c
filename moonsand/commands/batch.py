"""`moonsand batch`: run many scripts, or one with many inputs, and read what came of them."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from moonsand import connection
from moonsand import script_options as options
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_error, write_output
from runs.batches.model import MAX_CONCURRENCY, MAX_ITEMS, BatchRecord
from runs.model import Priority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moonsand.batch_client import BatchClient
    from moonsand.batch_running import BatchRun
    from moonsand.batch_view import View

app = typer.Typer(no_args_is_help=True, help="Run many, watch them, and read their results.")

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="Id of a batch, `bat_...`.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Out = Annotated[Path | None, typer.Option(help="Write the results there, one JSON object a line.")]


@app.command()
def run(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help='One item a line: `{"input": ...}` in JSON.')
    ],
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", "-j", min=1, max=MAX_CONCURRENCY, help="So many on their way at once."
        ),
    ] = None,
    stop_after: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_ITEMS, help="After so many failures start nothing more."),
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="Lua file that is run with each item's input.")
    ] = None,
    code: options.Code = None,
    script_ref: Annotated[
        str | None, typer.Option(help="Saved script in its place: `name`, `name@version`.")
    ] = None,
    priority: Annotated[
        Priority | None, typer.Option(help="Which of your runs begin first (default normal).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Shown in lists.")] = None,
    callback: Annotated[
        str | None,
        typer.Option(help="Who is told when it ends: a callback endpoint's id, or an address."),
    ] = None,
    grant: options.Grant = None,
    out: Out = None,
    new: Annotated[
        bool, typer.Option("--new", help="Do not go on with what was broken off: run all again.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Progress as JSON lines, as when nobody looks.")
    ] = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """
    Run a file of items and follow them to the end.

    Broken off, by Ctrl-C or any other way, it goes on where it was with the same command: what was
    uploaded runs on in the service meanwhile. Exit code: 0 all succeeded, 1 some did not.
    """
    from moonsand.batch_jobs import Jobs
    from moonsand.batch_resuming import Remembered
    from moonsand.batch_running import BatchRun

    if out is not None and not out.absolute().parent.is_dir():
        raise UsageFault(f"cannot write {out}: there is no such directory")
    jobs = Jobs.of(file)
    given: dict[str, Any] = {
        "concurrency": concurrency,
        "stop_after": stop_after,
        "script_ref": script_ref,
        "priority": None if priority is None else priority.value,
        "name": name,
        "callback": callback,
        "grants": options.GrantOptions(grant).rules(),
    }
    if script is not None or code is not None:
        given["script"], _ = options.read_script(options.Source(script, code, None))
    terms = jobs.terms | {word: value for word, value in given.items() if value is not None}
    client = connection.open_batches(url, key)
    remembered = Remembered.of(client.url, jobs.sha256, terms, new=new)
    job = BatchRun(jobs, terms | {"count": jobs.count}, remembered)
    return asyncio.run(_run(client, job, out, as_json=as_json))


async def _run(client: BatchClient, job: BatchRun, out: Path | None, *, as_json: bool) -> int:
    from moonsand.signals import until_stopped

    async def work() -> None:
        with _view(as_json=as_json) as view:
            record = await job.to_its_end(client, view)
        if out is not None:
            await _write_results(client, record.id, out, 0)

    async with client:
        if not await until_stopped(work()):
            write_error(job.how_to_go_on())
            return Exit.INTERRUPTED
    record = job.ended()
    if not as_json and sys.stdout.isatty():
        write_error(_summary(record))
    return Exit.SUCCEEDED if record.counts.succeeded == job.jobs.count else Exit.FAILED


@app.command()
def show(
    batch: BatchId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Show how far a batch is."""
    record = asyncio.run(_one(connection.open_batches(url, key), batch))
    write_output(f"{record.model_dump_json() if as_json else _row(record)}\n")
    if not as_json:
        write_error(_summary(record))
    return Exit.SUCCEEDED


async def _one(client: BatchClient, batch: str) -> BatchRecord:
    async with client:
        return await client.get(batch)


@app.command("list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """List batches, newest first."""

    async def page() -> list[BatchRecord]:
        async with connection.open_batches(url, key) as client:
            return (await client.page(limit=limit))[0]

    for record in asyncio.run(page()):
        write_output(f"{record.model_dump_json() if as_json else _row(record)}\n")
    return Exit.SUCCEEDED


@app.command()
def results(
    batch: BatchId,
    first: Annotated[
        int, typer.Option("--from", min=0, max=MAX_ITEMS, help="Index of the first item.")
    ] = 0,
    out: Out = None,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """
    Write a line of JSON for each item, in their order; also while the batch runs.

    An item that has not ended has no `reason`.
    """

    async def write() -> None:
        async with connection.open_batches(url, key) as client:
            await _write_results(client, batch, out, first)

    asyncio.run(write())
    return Exit.SUCCEEDED


@app.command()
def cancel(batch: BatchId, url: connection.Url = None, key: connection.Key = None) -> int:
    """Start nothing more of a batch, and cancel what is on its way."""

    async def end() -> BatchRecord:
        async with connection.open_batches(url, key) as client:
            return await client.cancel(batch)

    record = asyncio.run(end())
    write_output(f"{record.id} {record.status}\n")
    return Exit.SUCCEEDED


def _view(*, as_json: bool) -> View:
    from rich.console import Console

    from moonsand.batch_view import Bar, Lines

    if as_json or not sys.stdout.isatty():
        return Lines()
    return Bar(Console())


async def _write_results(client: BatchClient, batch: str, out: Path | None, first: int) -> None:
    with _opened(out) as file:
        async for line in client.result_lines(batch, first):
            file.write(f"{line}\n")


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[str]]:
    """Give stdout, or a file that is there only once it was written to its end."""
    if path is None:
        yield sys.stdout
        return
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise UsageFault(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _row(record: BatchRecord) -> str:
    when = datetime.fromtimestamp(record.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    counts = record.counts
    ended = counts.succeeded + counts.failed + counts.cancelled
    done = f"{ended:>6}/{counts.received:<6}"
    return f"{record.id}  {when}  {record.status:<10}  {done}  {safe(record.name)}"


def _summary(record: BatchRecord) -> str:
    from moonsand.batch_view import failures

    counts = record.counts
    words = ("failed", "cancelled", "skipped", "in_flight", "pending")
    other = {word.replace("_", " "): getattr(counts, word) for word in words}
    parts = [f"{counts.succeeded:,} succeeded"]
    parts += [f"{count:,} {word}" for word, count in other.items() if count]
    why = failures(record)
    text = f"{record.status}: {', '.join(parts)}" + (f" ({why})" if why else "")
    if record.sealed_ms is not None and record.ended_ms is not None:
        seconds = (record.ended_ms - record.sealed_ms) / 1000
        text += f" in {seconds:,.1f} s"
    return text
