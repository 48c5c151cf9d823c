"""`moonsand runs`: list runs, and take them out of a service and to another machine."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from moonsand import connection
from moonsand.commands import remote
from moonsand.commands.remote import RunId
from moonsand.commands.replay import Archive, LogKey, verify_key
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import write_error, write_output
from runs.model import State

app = typer.Typer(invoke_without_command=True)


@app.callback()
def runs(
    context: typer.Context,
    state: Annotated[State | None, typer.Option(help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON run a line.")] = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """List runs, newest first; or export and import one."""
    if context.invoked_subcommand is None:
        return remote.list_runs(state, limit, as_json=as_json, url=url, key=key)
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageFault(f"options stand after `{context.invoked_subcommand}`, not before")
    return Exit.SUCCEEDED


@app.command()
def export(
    run: RunId,
    out: Annotated[
        Path | None, typer.Option(help="New file for the bundle (default: standard output).")
    ] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Take out of replies what looks like a secret.")
    ] = False,
    archive: Archive = None,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Write an ended run into one file: script, input, tape, replies, receipt."""
    from core.errors import NotFound
    from core.ids import is_id
    from integrations.bundle_redaction import redacted
    from moonsand.bundle_sources import Source, archived, download, open_bundle

    if not is_id(run, "run"):
        raise NotFound(f"{run} is no id of a run")
    if out is None and sys.stdout.isatty():
        raise UsageFault("a bundle is no text to look at: name a file with --out, or use > FILE")
    source = Source(archive, url, key)
    with _written(out) as file:
        if redact:
            bundle, _ = open_bundle(run, source)
            file.writelines(redacted(bundle).lines())
            return Exit.SUCCEEDED
        with archived(run, source) as lines:
            if lines is not None:
                file.writelines(lines)
                return Exit.SUCCEEDED
        asyncio.run(download(source.client(), run, file))
    return Exit.SUCCEEDED


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A bundle; - is stdin.")],
    log_key: LogKey = None,
) -> int:
    """Check a bundle and keep it here, so that `moonsand replay RUN` finds it."""
    from ledger.bundle_check import check_bundle
    from moonsand.bundle_sources import keep, read_file

    bundle = read_file(file)
    proved = check_bundle(bundle, verify_key(log_key)).proved
    keep(bundle)
    write_output(f"{bundle.run}\n")
    if proved.log is None:
        write_error("note: it has no receipt: nothing proves that this is what happened")
    elif not proved.signed:
        write_error(f"note: nobody checked the signature of {proved.log}; --log-key checks it")
    return Exit.SUCCEEDED


@contextmanager
def _written(path: Path | None) -> Iterator[IO[bytes]]:
    """Give stdout, or a new file that is gone again if it was not written to its end."""
    from core.errors import Invalid

    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Invalid(f"{path} cannot be made: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
