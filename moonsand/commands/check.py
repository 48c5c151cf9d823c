"""`moonsand check`: what is wrong with a script, without running it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from moonsand import script_options as options
from moonsand.commands.run import PacksDirectory
from moonsand.exits import Exit
from moonsand.terminal import write_error, write_output

if TYPE_CHECKING:
    from integrations.check_report import Needs, Report


def check(
    file: options.File = None,
    code: options.Code = None,
    packs: PacksDirectory = None,
    as_json: options.AsJson = False,
) -> int:
    """
    Check a script without running it: syntax, names, arguments, and what it needs.

    Exit code: 0 nothing was found, 1 something is wrong, 2 nothing was checked.
    """
    from integrations.catalog import Catalog
    from integrations.check import check_script

    script, name = options.read_script(options.Source(file, code, None))
    report = check_script(script, Catalog.load(operator=packs))
    if as_json:
        write_output(f"{json.dumps(report.to_json())}\n")
    else:
        _show(report, name)
    return Exit.SUCCEEDED if report.ok else Exit.FAILED


def _show(report: Report, name: str) -> None:
    for one in report.findings:
        write_finding(f"{name}:{one.line}:{one.column}", one.code, one.message, one.hint)
    count = len(report.findings)
    if count:
        write_error(f"{name}: {count} finding{'s' if count > 1 else ''}")
    else:
        write_output(f"{name}: nothing found\n{_needs(report.needs)}\n")


def write_finding(place: str, code: str, message: str, hint: str | None) -> None:
    """Show one finding: a line that editors can jump to, and its hint below it."""
    write_output(f"{place}: {code}: {message}\n")
    if hint:
        write_output(f"    {hint}\n")


def _needs(needs: Needs) -> str:
    functions = ", ".join(needs.functions) or "no function"
    accounts = f"; accounts: {', '.join(needs.accounts)}" if needs.accounts else ""
    writes = "; it writes" if needs.writes else ""
    dynamic = "; and perhaps more, by names made while it runs" if needs.dynamic else ""
    return f"needs: {functions}{accounts}{writes}{dynamic}"
