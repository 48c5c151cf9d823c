"""Options that the commands which look at the ledger share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ArchivePath = Annotated[
    Path | None,
    typer.Argument(
        metavar="ARCHIVE", help="Directory or file (default: that of the settings, or local)."
    ),
]
PublicKey = Annotated[
    str | None,
    typer.Option(
        "--log-key", help="The log's public key, or a file with it (default: this machine's own)."
    ),
]
Kept = Annotated[
    list[Path] | None,
    typer.Option("--from", help="A checkpoint that was kept, or a directory of them; repeatable."),
]
Tenant = Annotated[str | None, typer.Option(help="Entries of this tenant.")]
KeyId = Annotated[str | None, typer.Option("--key", help="Runs of this API key, `key_...`.")]
Kind = Annotated[str | None, typer.Option(help="Entries of this kind, such as `run.finished`.")]
Function = Annotated[
    str | None, typer.Option(help="Runs that called `mux.create_asset`, or anything of `mux`.")
]
Effect = Annotated[
    str | None,
    typer.Option(
        help="Runs with a call that `succeeded`, `failed`, was `denied`, `unknown`, `open`."
    ),
]
Reason = Annotated[str | None, typer.Option(help="Runs that ended so, as `ok` or `denied`.")]
Script = Annotated[
    str | None, typer.Option(help="Runs of this script: its SHA-256, or a file with it.")
]
Since = Annotated[
    str | None, typer.Option(help="From this time on: `2026-11-23`, or with `T14:00`.")
]
Until = Annotated[str | None, typer.Option(help="Before this time, as --since (UTC).")]
