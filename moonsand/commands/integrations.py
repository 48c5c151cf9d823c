"""`moonsand integrations`: what can be called, how, and calling it without a script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moonsand.commands import documentation
from moonsand.commands.call import call
from moonsand.commands.configure import configure
from moonsand.commands.diagnose import doctor
from moonsand.commands.import_openapi import import_openapi
from moonsand.commands.lua import lua
from moonsand.commands.run import PacksDirectory
from moonsand.exits import Exit, UsageFault
from moonsand.script_options import AsJson
from moonsand.terminal import pretty, write_error, write_output

if TYPE_CHECKING:
    from integrations.catalog import Catalog
    from integrations.function import Function

app = typer.Typer(no_args_is_help=True, help="Show, check and call integrations.")
app.command("import")(import_openapi)
app.command("lua")(lua)
app.command("call", context_settings={"ignore_unknown_options": True})(call)
app.command("configure")(configure)
app.command("doctor")(doctor)
app.command("search")(documentation.search)
app.command("docs")(documentation.docs)


@app.command("list")
def list_integrations(packs: PacksDirectory = None, as_json: AsJson = False) -> int:
    """List every integration and its functions."""
    rows: list[dict[str, Any]] = [
        {
            "name": one.name,
            "title": one.title,
            "summary": one.pack.summary,
            "functions": [
                {"name": function.full_name, "effect": function.effect_class.value}
                for function in one.functions
            ],
            "credentials": list(one.pack.credentials),
        }
        for one in _catalog(packs).integrations.values()
        if one.pack is not None
    ]
    if as_json:
        write_output(f"{json.dumps(rows)}\n")
        return Exit.SUCCEEDED
    for row in rows:
        write_output(f"{row['name']}: {row['title']}. {row['summary']}\n")
        for function in row["functions"]:
            write_output(f"  {function['name']} ({function['effect']})\n")
    return Exit.SUCCEEDED


@app.command()
def schema(
    name: Annotated[str, typer.Argument(help="A function, or an integration for all of its.")],
    packs: PacksDirectory = None,
) -> int:
    """Print the JSON Schema of a function's parameters, with its names and effect."""
    from integrations.direct_call import split_name
    from integrations.failure import CallFailed

    catalog = _catalog(packs)
    try:
        if name in catalog.integrations:
            value: Any = [_schema(one) for one in catalog.integrations[name].functions]
        else:
            integration, _, function = split_name(name)
            value = _schema(catalog.function(integration, function))
    except CallFailed as unknown:
        raise UsageFault(unknown.message) from None
    write_output(f"{pretty(value)}\n")
    return Exit.SUCCEEDED


@app.command()
def lint(
    target: Annotated[
        Path | None,
        typer.Argument(help="A pack or a directory of packs; without it, all that would be used."),
    ] = None,
    packs: PacksDirectory = None,
    as_json: AsJson = False,
) -> int:
    """Check packs; 1 if something is wrong."""
    from integrations.catalog import PACKS
    from integrations.lint import lint as check

    targets = [target] if target else [PACKS, *([packs] if packs else [])]
    if missing := [one.name for one in targets if not one.exists()]:
        raise UsageFault(f"there is no {missing[0]}")
    results = [check(one) for one in targets]
    count = sum(number for number, _ in results)
    findings = [one for _, some in results for one in some]
    if as_json:
        document = {"ok": not findings, "packs": count, "findings": [f.to_json() for f in findings]}
        write_output(f"{json.dumps(document)}\n")
    else:
        for one in findings:
            write_output(f"{one.file}: {one.message}\n")
        write_error(f"{_count(count, 'pack')}, {_count(len(findings), 'problem')}")
    return Exit.FAILED if findings else Exit.SUCCEEDED


@app.command()
def stubs(
    out: Annotated[Path | None, typer.Option(help="File to write instead of stdout.")] = None,
    packs: PacksDirectory = None,
) -> int:
    """Print definitions for Lua editors (LuaLS), made of the packs."""
    from integrations.luals import definitions

    text = definitions(_catalog(packs).integrations.values())
    if out is None:
        write_output(text)
        return Exit.SUCCEEDED
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise UsageFault(f"cannot write {out}: {error.strerror}") from None
    return Exit.SUCCEEDED


def _catalog(packs: Path | None) -> Catalog:
    from integrations.catalog import Catalog

    return Catalog.load(operator=packs)


def _schema(function: Function) -> dict[str, Any]:
    return {
        "name": function.full_name,
        "names": list(function.names),
        "effect": function.effect_class.value,
        "description": function.description,
        "parameters": dict(function.parameters),
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
