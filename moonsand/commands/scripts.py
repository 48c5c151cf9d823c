"""`moonsand scripts`: scripts that the service keeps, in versions that never change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from moonsand import connection
from moonsand import script_options as options
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_error, write_output

if TYPE_CHECKING:
    from moonsand.exchange import Ask
    from triggers.refs import Ref
    from triggers.saved import SavedScript, ScriptVersion

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="Keep scripts in the service, by name and version.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a saved script.")]
RefText = Annotated[
    str, typer.Argument(metavar="REF", help="`name`, `name@version` or `name@alias`.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command()
def save(
    name: Name,
    file: options.File = None,
    code: options.Code = None,
    alias: Annotated[
        str | None, typer.Option(help="Let this alias mean it from now on, such as `prod`.")
    ] = None,
    note: Annotated[str, typer.Option(help="What is new, for people.")] = "",
    schema: Annotated[
        Path | None, typer.Option(help="File with a JSON Schema that each input is held to.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check it first; save nothing that is wrong.")
    ] = False,
    grant: options.Grant = None,
    grants: options.GrantsFile = None,
    instructions: options.Instructions = None,
    memory_mb: options.MemoryMb = None,
    cpu_ms: options.CpuMs = None,
    wall_s: options.WallS = None,
    output_kb: options.OutputKb = None,
    calls: options.Calls = None,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Save a version, with its limits, grants and schema; print `name@version`."""
    from moonsand.exchange import CheckFailed
    from moonsand.trigger_asks import save_script
    from triggers.saved import ScriptDraft

    text, _ = options.read_script(options.Source(file, code, None))
    limits = options.LimitOptions(instructions, memory_mb, cpu_ms, wall_s, output_kb, calls)
    draft = ScriptDraft(
        name=name,
        script=text,
        limits=limits.to_limits(),
        grants=options.GrantOptions(grant, grants).rules(),
        input_schema=None if schema is None else options.read_json_file(schema),
        note=note,
        alias=alias,
    )
    try:
        version = ask(url, key, save_script(draft, check=check))
    except CheckFailed as failed:
        for one in failed.findings:
            write_error(f"{safe(name)}:{one['line']}:{one['column']}: {safe(one['message'])}")
        write_error("nothing was saved")
        return Exit.FAILED
    write_output(f"{version.model_dump_json() if as_json else version.ref}\n")
    return Exit.SUCCEEDED


@app.command("list")
def list_scripts(
    as_json: AsJson = False, url: connection.Url = None, key: connection.Key = None
) -> int:
    """List saved scripts by name: newest version, aliases, note."""
    from moonsand import trigger_asks

    for one in all_of(url, key, trigger_asks.list_scripts):
        write_output(f"{one.model_dump_json() if as_json else _row(one)}\n")
    return Exit.SUCCEEDED


@app.command()
def show(
    ref: RefText,
    versions: Annotated[bool, typer.Option("--versions", help="List all its versions.")] = False,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Print the text of a version, and on standard error what else is kept of it."""
    from moonsand import trigger_asks

    one = read_ref(ref)
    if versions:
        for version in all_of(url, key, partial(trigger_asks.list_versions, one.name)):
            line = version.model_dump_json() if as_json else _version_row(version)
            write_output(f"{line}\n")
        return Exit.SUCCEEDED
    which = one.alias or str(one.version or "latest")
    found = ask(url, key, trigger_asks.get_version(one.name, which))
    if as_json:
        write_output(f"{json.dumps(found, ensure_ascii=False)}\n")
        return Exit.SUCCEEDED
    text = found.pop("script")
    for name, value in found.items():
        if value not in ({}, None, ""):
            write_error(f"{name}: {safe(value if isinstance(value, str) else json.dumps(value))}")
    write_output(text if text.endswith("\n") else f"{text}\n")
    return Exit.SUCCEEDED


@app.command()
def alias(
    name: Name,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as `prod`.")],
    version: Annotated[
        int | None, typer.Argument(metavar="VERSION", help="What it is to mean.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Let it mean nothing any more.")] = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Let `name@alias` mean a version; runs that were accepted are not concerned."""
    from moonsand import trigger_asks

    if (version is None) is not delete:
        raise UsageFault("give a VERSION, or --delete")
    if version is None:
        ask(url, key, trigger_asks.delete_alias(name, alias))
        write_output(f"{safe(name)}@{safe(alias)} means nothing any more\n")
    else:
        ask(url, key, trigger_asks.set_alias(name, alias, version))
        write_output(f"{safe(name)}@{safe(alias)} is {safe(name)}@{version}\n")
    return Exit.SUCCEEDED


@app.command()
def delete(ref: RefText, url: connection.Url = None, key: connection.Key = None) -> int:
    """Delete a script with all its versions, or `name@version`; numbers are never used again."""
    from moonsand import trigger_asks

    one = read_ref(ref)
    if one.alias is not None:
        raise UsageFault("an alias is deleted by `moonsand scripts alias NAME ALIAS --delete`")
    ask(url, key, trigger_asks.delete_script(one.name, one.version))
    write_output(f"{one} is deleted\n")
    return Exit.SUCCEEDED


def read_ref(text: str) -> Ref:
    """
    Read a ref of the command line.

    Raises:
        UsageFault: it is none.
    """
    from core.errors import Invalid
    from triggers.refs import Ref

    try:
        return Ref.parse(text)
    except Invalid as wrong:
        raise UsageFault(wrong.detail) from None


def ask(url: str | None, key: str | None, asked: Ask[T]) -> T:
    """Ask the API one thing."""

    async def send() -> T:
        async with connection.open_client(url, key) as client:
            return await client.send(asked)

    return asyncio.run(send())


def all_of(
    url: str | None,
    key: str | None,
    asking: Callable[[str | None], Ask[tuple[list[T], str | None]]],
) -> list[T]:
    """Ask for page after page."""

    async def send() -> list[T]:
        found: list[T] = []
        cursor: str | None = None
        async with connection.open_client(url, key) as client:
            while True:
                page, cursor = await client.send(asking(cursor))
                found.extend(page)
                if cursor is None:
                    return found

    return asyncio.run(send())


def _row(one: SavedScript) -> str:
    aliases = ", ".join(f"{name}={number}" for name, number in one.aliases.items())
    return f"{one.name:<32}  {one.latest:>6}  {aliases:<24}  {safe(one.version.note)}".rstrip()


def _version_row(one: ScriptVersion) -> str:
    when = datetime.fromtimestamp(one.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{one.ref:<40}  {when}  {one.created_by}  {safe(one.note)}".rstrip()
