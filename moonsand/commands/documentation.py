"""`moonsand docs`: the pages that scripts read with `docs.read`, outside of any script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moonsand.commands.run import PacksDirectory
from moonsand.exits import Exit, UsageFault
from moonsand.script_options import AsJson
from moonsand.terminal import write_output

if TYPE_CHECKING:
    from integrations.docs import Docs

app = typer.Typer(no_args_is_help=True, help="List, search and read the documentation.")


@app.command("list")
def list_pages(packs: PacksDirectory = None, as_json: AsJson = False) -> int:
    """List every page: its name and what it is about."""
    pages = _docs(packs).list()
    if as_json:
        write_output(f"{json.dumps(pages)}\n")
    else:
        for page in pages:
            write_output(f"{page['name']}: {page['summary']}\n")
    return Exit.SUCCEEDED


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="What to look for.")],
    limit: Annotated[int, typer.Option(min=1, max=50, help="Most pages shown.")] = 10,
    packs: PacksDirectory = None,
    as_json: AsJson = False,
) -> int:
    """Find pages of the documentation by words, best first; 1 if there are none."""
    found = _docs(packs).search(" ".join(words), limit)
    if as_json:
        write_output(f"{json.dumps(found)}\n")
    else:
        for page in found:
            write_output(f"{page['name']}: {page['summary']}\n")
    return Exit.SUCCEEDED if found else Exit.FAILED


@app.command("read")
def docs(
    page: Annotated[str, typer.Argument(help="Name of a page, as `mux.list_assets`.")] = "index",
    packs: PacksDirectory = None,
    as_json: AsJson = False,
) -> int:
    """Print a page of the documentation, as scripts read it."""
    from integrations.failure import CallFailed

    pages = _docs(packs)
    try:
        text = pages.read(page)
    except CallFailed as unknown:
        raise UsageFault(unknown.message) from None
    found = pages.find(page)
    if as_json and found is not None:
        write_output(f"{json.dumps({**found.to_json(), 'text': text})}\n")
    else:
        write_output(text)
    return Exit.SUCCEEDED


def _docs(packs: Path | None) -> Docs:
    from integrations.catalog import Catalog

    return Catalog.load(operator=packs).docs
