"""`moonsand integrations doctor`: what is missing before an integration can be called here."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from moonsand.commands.configure import pack_named
from moonsand.commands.run import AccountsFile, PacksDirectory
from moonsand.exits import Exit
from moonsand.local_accounts import accounts_of
from moonsand.script_options import AsJson
from moonsand.terminal import write_output

if TYPE_CHECKING:
    from moonsand.integration_doctor import Examined


def doctor(
    integration: Annotated[
        str | None,
        typer.Argument(metavar="INTEGRATION", help="As `mux`; without it, all of them."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try no account: make no external call.")
    ] = False,
    accounts: AccountsFile = None,
    packs: PacksDirectory = None,
    as_json: AsJson = False,
) -> int:
    """
    Say whether integrations can be called from here; 1 if what was looked at is not so.

    One that was named must have an account; of the others only those that have one count.
    """
    from integrations.catalog import Catalog
    from moonsand.integration_doctor import examine
    from moonsand.local_policy import LocalPolicy

    catalog = Catalog.load(operator=packs)
    packed = [one.pack for one in catalog.integrations.values() if one.pack]
    chosen = packed if integration is None else [pack_named(catalog, integration)]
    known, policies = accounts_of(accounts, catalog), LocalPolicy.load()

    async def all_of_them() -> list[Examined]:
        return [await examine(catalog, known, policies, pack, call=not dry_run) for pack in chosen]

    seen = asyncio.run(all_of_them())
    if as_json:
        documents = {one.pack.name: one.to_json() for one in seen}
        write_output(f"{json.dumps(documents.get(integration or '', documents))}\n")
    else:
        for one in seen:
            _show(one)
    well = all(one.well for one in seen) and (integration is None or seen[0].active)
    return Exit.SUCCEEDED if well else Exit.FAILED


def _show(one: Examined) -> None:
    policy = one.policy
    state = "ready" if one.active else "disabled" if not policy.enabled else "not configured"
    write_output(f"{one.pack.name}: {state}, read {policy.read}, write {policy.write}\n")
    for check in one.checks:
        verdict = "ok" if check.ok else "WRONG"
        write_output(f"  {verdict:<6} {check.account} {check.name}: {check.detail}\n")
    for command in one.next_commands():
        write_output(f"  next   {command}\n")
