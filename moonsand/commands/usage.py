"""`moonsand usage`: what tenants and keys used, by the ledger's archive."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_error, write_output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.usage import Usage
    from ledger.usage_rows import UsageRow, Used

_HEAD = ("day", "tenant", "key", "runs", "ok", "instructions", "cpu_ms", "wall_ms", "calls")


def usage(
    tenant: Annotated[str | None, typer.Option(help="Of this tenant (default: of all).")] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", help="First day, UTC: `2026-11-01` (default: the month's first)."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Last day, UTC (default: today).")
    ] = None,
    by_key: Annotated[
        bool, typer.Option("--by-key", help="A row for each key instead of each tenant.")
    ] = False,
    key: Annotated[str | None, typer.Option(help="Of this key alone, `key_...`.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV, with all columns.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    archive: Annotated[
        Path | None, typer.Option(help="Place of the archive (default: as for audit verify).")
    ] = None,
) -> int:
    """Report what runs used on each UTC day; it adds up to the receipts of the ledger."""
    from ledger.usage import Wanted
    from tenancy.tenants import check_tenant

    if tenant is not None:
        check_tenant(tenant)
    if as_csv and as_json:
        raise UsageFault("give --csv or --json, not both")
    today = datetime.now(UTC).date()
    end = _day(last, "--to") or today
    begin = _day(first, "--from") or end.replace(day=1)
    if begin > end:
        raise UsageFault("--from is after --to")
    by_key = by_key or key is not None
    wanted = Wanted(begin.isoformat(), end.isoformat(), tenant, by_key, key)
    with closing(_counted(archive)) as counted:
        rows = counted.rows(wanted)
        if as_csv:
            _write_csv(rows)
        elif as_json:
            for row in rows:
                write_output(f"{json.dumps(row.to_json())}\n")
        else:
            _write_table(rows)
            write_error(f"{begin} to {end}, UTC; {counted.counted} entries of the ledger counted")
    return Exit.SUCCEEDED


def _counted(archive: Path | None) -> Usage:
    from core.errors import Invalid
    from core.settings import load_settings
    from ledger.archives import beside, named_place, open_place
    from ledger.usage import STEM, Usage
    from moonsand import audit_inputs as inputs

    settings = load_settings()
    path = inputs.archive_path(archive, settings)
    opened = open_place(path, settings)
    if opened is None:
        raise Invalid(
            f"there is no archive at {path}", hint="give --archive, or set MOONSAND_LEDGER_DIR"
        )
    # Nothing is written beside an archive that somebody only named.
    directory = (settings.ledger_dir or path) if archive is None else None
    made = Usage(beside(named_place(path), directory, STEM))
    with closing(opened):
        made.follow(opened)
    return made


def _write_csv(rows: Iterable[UsageRow]) -> None:
    from ledger.usage_rows import csv_head, csv_row

    write_output(csv_head().replace("\r\n", "\n"))
    for row in rows:
        write_output(csv_row(row).replace("\r\n", "\n"))


def _write_table(rows: Iterable[UsageRow]) -> None:
    from ledger.usage_rows import Used

    total, count = Used(), 0
    write_output("  ".join(_HEAD) + "\n")
    for row in rows:
        _write_row(row.place.day, row.place.tenant, row.place.key or "*", row.used)
        total.add(row.used)
        count += 1
    if count > 1:
        _write_row("total", "", "", total)


def _write_row(day: str, tenant: str, key: str, used: Used) -> None:
    cells = (day, tenant or "-", key or "-", used.runs, used.reasons.get("ok", 0))
    sums = (used.instructions, used.cpu_ms, used.wall_ms, used.calls)
    write_output("  ".join(safe(str(cell)) for cell in (*cells, *sums)) + "\n")


def _day(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageFault(f"{option} takes a day such as 2026-11-23") from None
