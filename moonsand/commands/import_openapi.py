"""`moonsand integrations import`: a pack made of an OpenAPI document."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from moonsand.exits import Exit, UsageFault
from moonsand.terminal import write_error, write_output


def import_openapi(
    document: Annotated[str, typer.Argument(metavar="FILE", help="The document, or - for stdin.")],
    name: Annotated[str, typer.Option(help="What the integration is called in scripts.")],
    host: Annotated[
        str | None,
        typer.Option(help="Where requests go: api.example.com, or https://host/path."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Tags, operation ids or function names, with commas; repeatable."),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(help="none, bearer, basic, header:NAME[:PREFIX], query:NAME, scheme:NAME."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory for the two files.")] = Path("packs"),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> int:
    """Write a pack from an OpenAPI 3.0, 3.1 or Swagger 2.0 document, JSON or YAML."""
    from integrations.openapi import ImportRefused, import_document

    wanted = [one for given in only or [] for one in given.split(",")]
    try:
        made = import_document(_read(document), name=name, host=host, only=wanted, auth=auth)
    except ImportRefused as refused:
        raise UsageFault(str(refused)) from None
    pack = out / f"{made.name}.yaml"
    try:
        out.mkdir(parents=True, exist_ok=True)
        # The pack comes last: a pack without its guide would keep a whole directory from loading.
        _write(out / f"{made.name}.md", made.guide, force=force)
        _write(pack, made.yaml, force=force)
    except FileExistsError as error:
        raise UsageFault(f"{error.filename} is there already; --force replaces it") from None
    except OSError as error:
        raise UsageFault(f"cannot write to {out}: {error.strerror or error}") from None
    for note in made.notes:
        # Names of the document stand in it, and may have line breaks.
        write_error(f"note: {' '.join(note.split())}")
    fields = ", ".join(made.credentials) or "no credentials"
    write_output(
        f"{pack}: {made.operations} functions; an account needs {fields}\n"
        f"Check  moonsand integrations lint {out}\n"
        f"Read   moonsand integrations docs {made.name} --packs {out}\n"
    )
    return Exit.SUCCEEDED


def _read(document: str) -> bytes:
    from integrations.openapi.reading import MAX_DOCUMENT_BYTES

    try:
        if document == "-":
            return sys.stdin.buffer.read(MAX_DOCUMENT_BYTES + 1)
        with Path(document).open("rb") as file:
            return file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise UsageFault(f"cannot read {document}: {error.strerror}") from None


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a file that is either whole or not there."""
    if path.exists() and not force:
        raise FileExistsError(17, "exists", str(path))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
