"""Medians, percentiles and the table: how every figure is made and shown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, its peer measured beside it in the same run, their ratio, and the target."""

    what: str
    ours: str
    peer: str
    ratio: str
    target: str


def median(values: Sequence[float]) -> float:
    """Give the median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(values: Sequence[float], unit: str, digits: int = 2) -> str:
    """Show a median with its range over the rounds."""
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} {unit} [{low:.{digits}f}..{high:.{digits}f}]"


def show(rows: Sequence[Row]) -> None:
    """Print the table, wide enough to be pasted."""
    table = Table(
        title=Text("Moonsand benchmarks: medians of interleaved rounds [lowest..highest]")
    )
    for name in ("figure", "ours", "peer, same run", "ratio ours/peer", "target"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(row.what, row.ours, row.peer, row.ratio, row.target)
    Console(width=160).print(table)
