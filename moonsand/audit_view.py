"""Entries of an archive, shown: a table for people, a JSON object a line for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ledger.audit_query import Entry
from moonsand.terminal import safe, write_output


def write_table(entries: Iterable[Entry]) -> None:
    """Write a line for each entry, and one below it for each call that fits."""
    for entry in entries:
        fields = entry.fields
        words = [f"{entry.index:>8}", _time(fields.get("at_ms")), f"{_word(fields, 'kind'):<20}"]
        words += [f"{_word(fields, 'tenant'):<16}", _word(fields, "id"), _word(fields, "reason")]
        write_output(f"{'  '.join(words).rstrip()}\n")
        for call in entry.calls:
            account = f"{call['account']}" if call.get("account") else "-"
            told = (call["seq"], call["name"], account, call["effect"], call["duration_ms"])
            seq, name, account, effect, took = (
                safe("-" if one is None else str(one)) for one in told
            )
            write_output(f"{'':>8}  call {seq}: {name}  {account}  {effect}  {took} ms\n")


def write_json(entries: Iterable[Entry]) -> None:
    """Write each entry: its index, what it says, and the calls that fit."""
    for entry in entries:
        row = {"index": entry.index, "entry": entry.fields, "calls": entry.calls}
        write_output(f"{json.dumps(row, ensure_ascii=False)}\n")


def write_rows(rows: Iterable[Mapping[str, Any]], *, as_json: bool) -> None:
    """Write the rows of an answer to a query: tabs between values, names first."""
    first = True
    for row in rows:
        if as_json:
            write_output(f"{json.dumps(row, ensure_ascii=False, default=str)}\n")
            continue
        if first:
            write_output("\t".join(_cell(name) for name in row) + "\n")
            first = False
        write_output("\t".join(_cell(value) for value in row.values()) + "\n")


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("\t", " ").replace("\n", " ")


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return safe(value) if isinstance(value, str) else ""


def _time(at_ms: Any) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (TypeError, ValueError, OverflowError, OSError):
        return f"{'-':<19}"
