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
