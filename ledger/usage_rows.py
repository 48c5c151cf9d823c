"""
What ended runs used, added up: from leaves to rows, and rows as CSV.

Runs in: api, CLI. Trusts: nothing: a number that a leaf does not say as one counts as none, and
the run as unmetered. Refuses: nothing. May import: stdlib, orjson, ledger.

Every `run.finished` leaf counts once, in the UTC day of its `at_ms`: rows add up to the leaves, and
so to the receipts, whatever happened to runs, workers and Redis in between.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Self

import orjson

from ledger.called import OTHER, integration_of
from ledger.leaves import LeafKind, read_leaf

#: Stands for the key of a run that was accepted without one.
NO_KEY = "-"
_SUMS = ("instructions", "cpu_ms", "wall_ms", "memory_bytes", "output_bytes")
#: More than any run can use; a greater number is none.
_MOST = 1 << 40
_DAY_MS = 86_400_000
_LAST_MS = 253_402_300_799_999
_MAX_REASON_CHARS = 40
#: What a spreadsheet would take for a formula at the beginning of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = (
    *("day", "tenant", "key", "runs", "unmetered", "attempts", *_SUMS, "memory_bytes_max"),
    *("calls", "reasons", "called"),
)


@dataclass(slots=True)
class Used:
    """
    What some runs used together.

    `runs` counts ends of runs, `reasons` the same by reason, `attempts` how often they were begun,
    `unmetered` those that were begun and tell of no instruction: their child was killed, or their
    worker lost. `memory_bytes` adds up the peaks of their heaps, `memory_bytes_max` is the highest.
    `calls` counts all calls, `called` those that were begun, by integration.
    """

    runs: int = 0
    unmetered: int = 0
    attempts: int = 0
    instructions: int = 0
    cpu_ms: int = 0
    wall_ms: int = 0
    memory_bytes: int = 0
    output_bytes: int = 0
    memory_bytes_max: int = 0
    calls: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    called: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of_leaf(cls, leaf: Mapping[str, Any]) -> Self:
        """Read what one `run.finished` leaf says."""
        used = cls()
        used.take(leaf)
        return used

    def take(self, leaf: Mapping[str, Any]) -> None:
        """Add what one `run.finished` leaf says."""
        usage = leaf.get("usage")
        told = usage if isinstance(usage, dict) else {}
        self.runs += 1
        attempts, instructions = _count(leaf.get("attempt")), _count(told.get("instructions"))
        self.unmetered += not told or (attempts > 0 and instructions == 0)
        self.attempts += attempts
        self.instructions += instructions
        self.cpu_ms += _count(told.get("cpu_ms"))
        self.wall_ms += _count(told.get("wall_ms"))
        self.output_bytes += _count(told.get("output_bytes"))
        memory_bytes = _count(told.get("memory_bytes"))
        self.memory_bytes += memory_bytes
        self.memory_bytes_max = max(self.memory_bytes_max, memory_bytes)
        self.calls += sum(_counts(leaf.get("calls")).values())
        self.reasons[_reason(leaf.get("reason"))] += 1
        for name, number in _counts(leaf.get("called")).items():
            self.called[_integration(name)] += number

    def add(self, other: Used) -> None:
        """Add what others used."""
        highest = max(self.memory_bytes_max, other.memory_bytes_max)
        for name in ("runs", "unmetered", "attempts", *_SUMS, "calls"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.memory_bytes_max = highest
        self.reasons.update(other.reasons)
        self.called.update(other.called)

    def to_json(self) -> dict[str, Any]:
        """Give it as a JSON object, names in order."""
        counts = ("runs", "unmetered", "attempts", *_SUMS, "memory_bytes_max", "calls")
        return {
            **{name: getattr(self, name) for name in counts},
            "reasons": dict(sorted(self.reasons.items())),
            "called": dict(sorted(self.called.items())),
        }

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(
            **{**kept, "reasons": Counter(kept["reasons"]), "called": Counter(kept["called"])}
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Whose usage, and of which UTC day (`2026-11-23`); `key` empty: of all the tenant's keys."""

    day: str
    tenant: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a tenant, or one of its keys, used on one UTC day."""

    place: Place
    used: Used

    def to_json(self) -> dict[str, Any]:
        """Give it as one flat JSON object; without `key` it is of all the tenant's keys."""
        named = {"day": self.place.day, "tenant": self.place.tenant}
        key = {"key": self.place.key} if self.place.key else {}
        return {**named, **key, **self.used.to_json()}


def place_of(leaf: Mapping[str, Any]) -> Place | None:
    """Give whose usage a leaf tells of, by key; None of a leaf that is no run's end."""
    if leaf.get("kind") != LeafKind.RUN_FINISHED:
        return None
    at_ms, tenant, key = leaf.get("at_ms"), leaf.get("tenant"), leaf.get("key")
    known = at_ms if isinstance(at_ms, int) and 0 <= at_ms <= _LAST_MS else 0
    day = _day_number(known // _DAY_MS)
    return Place(
        day,
        tenant if isinstance(tenant, str) else "",
        key if isinstance(key, str) and key else NO_KEY,
    )


def fold(leaves: Iterable[bytes]) -> dict[Place, Used]:
    """Add up the ends of runs among leaves: by key, and for each tenant."""
    sums: dict[Place, Used] = {}
    for data in leaves:
        fields = read_leaf(data)
        place = place_of(fields)
        if place is None:
            continue
        known = sums.get(place)
        if known is None:
            known = sums[place] = Used()
        known.take(fields)
    for place, used in list(sums.items()):
        sums.setdefault(Place(place.day, place.tenant), Used()).add(used)
    return sums


def csv_head() -> str:
    """Give the first line of the CSV."""
    return _csv_line(COLUMNS)


def csv_row(row: UsageRow) -> str:
    """Give one row as a line of CSV; `reasons` and `called` are JSON objects in a cell."""
    plain = {"key": "", **row.to_json()}
    cells = [plain[name] for name in COLUMNS]
    texts = [orjson.dumps(one).decode() if isinstance(one, dict) else str(one) for one in cells]
    return _csv_line([_harmless(text) for text in texts])


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) and text != NO_KEY else text


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()


@lru_cache(maxsize=64)
def _day_number(number: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number)).date().isoformat()


def _count(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < _MOST else 0


def _counts(value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {name: _count(number) for name, number in value.items()}


@lru_cache(maxsize=1024)
def _integration(name: str) -> str:
    return OTHER if name == OTHER else integration_of(f"{name}.x")


def _reason(value: Any) -> str:
    known = isinstance(value, str) and value.isascii() and 0 < len(value) <= _MAX_REASON_CHARS
    return value if known and value.replace("_", "").isalnum() else OTHER
