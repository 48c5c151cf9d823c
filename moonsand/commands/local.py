"""`moonsand doctor`, `stubs`, `demo`, `version`: this machine, tried out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from moonsand import script_options as options
from moonsand.exits import Exit, UsageFault
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
    from integrations.stubs import run_stubs

    def ready(where: list[str]) -> None:
        write_output(
            "\n".join(where) + f"\naccounts in {accounts_out}\n\n"
            f"Try    moonsand run examples/mux/list_assets.lua --accounts {accounts_out}\n"
            "Stop   Ctrl-C\n"
        )

    try:
        return run_stubs(accounts_out, ready)
    except OSError as error:
        raise UsageFault(f"cannot write {accounts_out}: {error.strerror or error}") from None


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service up until Ctrl-C.")
    ] = False,
    crash: Annotated[
        bool, typer.Option("--crash", help="Kill the worker in the middle of a run instead.")
    ] = False,
) -> int:
    """Run the examples on a real Redis, API and worker against a loopback stub of the vendor."""
    if crash:
        if keep:
            raise UsageFault("--crash and --keep do not go together")
        from moonsand.crash_demo import run_crash_demo

        return asyncio.run(run_crash_demo())
    from moonsand.demo import run_demo

    return asyncio.run(run_demo(keep=keep))


def version() -> int:
    """Print the version."""
    from importlib.metadata import version as installed

    write_output(f"moonsand {installed('moonsand')}\n")
    return Exit.SUCCEEDED
