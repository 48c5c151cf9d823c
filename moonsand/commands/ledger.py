"""`moonsand ledger`: the key that signs the ledger's checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from moonsand.exits import Exit
from moonsand.terminal import write_error, write_output

app = typer.Typer(no_args_is_help=True, help="The ledger's key.")


@app.callback()
def ledger() -> None:
    """Keep its commands together."""


@app.command()
def keygen(
    origin: Annotated[
        str, typer.Argument(help="Name of the log, as log.example.org/moonsand; it stays.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="New file for the key (default: standard output).")
    ] = None,
) -> int:
    """Make the key that signs the ledger's checkpoints; print the key that checks them."""
    from ledger.notes import SigningKey

    key = SigningKey.new(origin)
    if out is None:
        write_output(f"{key.secret()}\n")
        write_error(f"who checks checkpoints needs: {key.public}")
    else:
        write_new(out, key.secret())
        write_output(f"{key.public}\n")
    return Exit.SUCCEEDED


@app.command()
def rotate(
    to: Annotated[Path, typer.Option(help="New file for the new key and those before it.")],
    archive: Annotated[
        Path | None, typer.Option(help="Place of the archive (default: that of the settings).")
    ] = None,
) -> int:
    """Let a new key sign the log from now on; print all keys that check its checkpoints."""
    from contextlib import closing

    from core.clock import now_ms
    from core.settings import load_settings
    from ledger.log_keys import SigningKeys
    from ledger.log_keys import rotate as append
    from ledger.notes import SigningKey
    from moonsand.audit_inputs import archive_path, signing_keys
    from moonsand.erasing import open_writer

    settings = load_settings()
    keys = signing_keys(settings)
    with closing(open_writer(archive_path(archive, settings), settings)) as opened:
        if to.exists():  # of a try that broke off
            changed = SigningKeys.parse(to.read_text())
        else:
            changed = keys.followed_by(SigningKey.new(keys.key.public.name))
            write_new(to, changed.secret())
        index = append(opened, changed, now_ms())
    write_output(f"{changed.public}\n")
    write_error(f"entry {index} tells of it; start the sequencer with the key in {to}")
    return Exit.SUCCEEDED


def write_new(path: Path, text: str) -> None:
    """
    Write a file that only its owner can read, and that was not there.

    Raises:
        Invalid: it is there, or cannot be made.
    """
    from core.errors import Invalid

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Invalid(f"{path} cannot be made: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")
