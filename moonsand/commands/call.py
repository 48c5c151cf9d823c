"""`moonsand integrations call`: one function, without a script."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moonsand.call_arguments import arguments_of
from moonsand.commands.run import AccountsFile, PacksDirectory
from moonsand.exits import Exit
from moonsand.local_accounts import accounts_of
from moonsand.script_options import AsJson
from moonsand.terminal import pretty, write_error, write_output

if TYPE_CHECKING:
    from integrations.catalog import Catalog

FunctionName = Annotated[
    str, typer.Argument(metavar="FUNCTION", help="As `mux.list_assets`, or of a named account.")
]


def call(
    function: FunctionName,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGUMENTS",
            help="A JSON object (`-` reads it from stdin), then flags such as --limit 5.",
        ),
    ] = None,
    arg: Annotated[
        list[str] | None,
        typer.Option(help="One parameter as NAME=VALUE; the value is JSON or text; repeatable."),
    ] = None,
    account: Annotated[str | None, typer.Option(help="Name of an account.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the request; send nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Skip the read/write policy.")] = False,
    accounts: AccountsFile = None,
    packs: PacksDirectory = None,
    as_json: AsJson = False,
) -> int:
    """
    Call one function and print its reply as JSON; 1 if it failed.

    A flag that is none of these options is a parameter: --asset-id x sets asset_id.
    """
    from integrations.catalog import Catalog
    from integrations.direct_call import call_directly, request_of
    from integrations.failure import CallFailed
    from moonsand.local_policy import LocalPolicy

    catalog = Catalog.load(operator=packs)
    given = arguments_of(words or [], arg or [], _texts(catalog, function))
    known = accounts_of(accounts, catalog)
    grants = LocalPolicy.load().grants(force=force)
    told: dict[str, Any] = {"function": function, "success": True, "data": None, "error": None}
    began_s = time.monotonic()
    try:
        if dry_run:
            told["data"] = request_of(catalog, known, function, account, given, grants)
        else:
            told["data"] = asyncio.run(
                call_directly(catalog, known, function, account, given, grants)
            )
    except CallFailed as failure:
        told |= {"success": False, "error": failure.message}
    told["meta"] = {"account": account, "dry_run": dry_run, "permission_bypassed": force}
    told["duration_ms"] = round((time.monotonic() - began_s) * 1000, 1)
    _show(told, as_json=as_json)
    return Exit.SUCCEEDED if told["success"] else Exit.FAILED


def _show(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_output(f"{json.dumps(told)}\n")
    elif told["success"]:
        write_output(f"{pretty(told['data'])}\n")
    else:
        write_error(f"moonsand: {told['error']}")


def _texts(catalog: Catalog, name: str) -> set[str]:
    """Give the parameters of a function that only text fits; none if there is no such function."""
    from integrations.direct_call import split_name
    from integrations.failure import CallFailed

    try:
        integration, _, short = split_name(name)
        function = catalog.function(integration, short)
    except CallFailed:
        return set()  # the call itself will say so
    texts = {one for one, schema in function.properties.items() if schema.get("type") == "string"}
    return texts | {alias for alias, meant in function.parameter_aliases.items() if meant in texts}
