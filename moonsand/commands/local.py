"""`moonsand doctor`, `stubs`, `demo`, `version`: this machine, tried out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from moonsand import script_options as options
from moonsand.exits import Exit
from moonsand.signals import until_stopped
from moonsand.terminal import write_error, write_output


def doctor(as_json: options.AsJson = False) -> int:
    """Say what of the jail, Redis and settings this machine can do; 1 if something is missing."""
    from moonsand.doctor import examine

    checks = examine()
    well = all(check.ok for check in checks if check.required)
    if as_json:
        write_output(json.dumps({"ok": well, "checks": [one.to_json() for one in checks]}) + "\n")
    else:
        for check in checks:
            write_output(f"{check.line()}\n")
        for check in checks:
            if not check.ok and check.remedy:
                write_error(f"{check.area} {check.name}: {check.remedy}")
        write_output("scripts can run here\n" if well else "scripts cannot run here\n")
    return Exit.SUCCEEDED if well else Exit.FAILED


def stubs(
    accounts_out: Annotated[
        Path, typer.Option(help="Where to write an accounts file for the stubs.")
    ] = Path("stub-accounts.toml"),
) -> int:
    """Serve loopback stand-ins of the vendors' real APIs until Ctrl-C, and write their accounts."""
    asyncio.run(until_stopped(_stubs(accounts_out)))
    return Exit.SUCCEEDED


async def _stubs(accounts_out: Path) -> None:
    from integrations.stubs.server import serve_stubs
    from moonsand.stub_accounts import write_accounts

    async with serve_stubs() as stubs:
        write_accounts(accounts_out, stubs)
        for name, url in stubs.base_urls.items():
            write_output(f"{name:<7}{url}\n")
        write_output(
            f"{'':<7}their accounts are in {accounts_out}\n\n"
            f"Try    moonsand run examples/mux/FILE --accounts {accounts_out}\n"
            "Stop   Ctrl-C\n"
        )
        await asyncio.get_running_loop().create_future()


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service up until Ctrl-C.")
    ] = False,
) -> int:
    """Run the examples on a real Redis, API and worker against a loopback stub of the vendor."""
    from moonsand.demo import run_demo

    return asyncio.run(run_demo(keep=keep))


def version() -> int:
    """Print the version."""
    from importlib.metadata import version as installed

    write_output(f"moonsand {installed('moonsand')}\n")
    return Exit.SUCCEEDED
