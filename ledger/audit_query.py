"""
Asking an archive: which entries, and which calls of which runs.

Runs in: CLI. Trusts: the archive, as far as `ledger.audit` has verified it. Refuses: nothing; what
an entry's bytes say decides, not the columns beside them. May import: stdlib, core, ledger.

Nothing of a payload is read: leaves and lines of tapes hold no text that a script or a vendor
wrote, and no secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ledger.audit_source import SqliteSource, TileSource
from ledger.leaves import LeafKind, read_leaf

_RUNS = (LeafKind.RUN_ACCEPTED, LeafKind.RUN_FINISHED)
_CALL = ("name", "account", "effect_class", "effect", "ok", "status", "duration_ms")
_USAGE = ("instructions", "memory_bytes", "cpu_ms", "wall_ms", "output_bytes")
#: Effect of a call that has an intent and nothing more.
OPEN = "open"

#: Columns of the tables `entries` and `calls`, with their types in SQL.
ENTRIES = {
    "index": "BIGINT",
    "at_ms": "BIGINT",
    "kind": "VARCHAR",
    "tenant": "VARCHAR",
    "id": "VARCHAR",
    "key": "VARCHAR",
    "script_sha256": "VARCHAR",
    "reason": "VARCHAR",
    "attempt": "BIGINT",
    **dict.fromkeys(_USAGE, "BIGINT"),
    "calls": "BIGINT",
    "leaf": "VARCHAR",
}
CALLS = {
    "index": "BIGINT",
    "at_ms": "BIGINT",
    "run": "VARCHAR",
    "tenant": "VARCHAR",
    "seq": "BIGINT",
    "name": "VARCHAR",
    "account": "VARCHAR",
    "effect_class": "VARCHAR",
    "effect": "VARCHAR",
    "ok": "BOOLEAN",
    "status": "BIGINT",
    "duration_ms": "BIGINT",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """
    What entries have to say; None or empty asks for nothing.

    `function` (`mux.create_asset`, or `mux` for all of it) and `effect` are of one call of the run:
    only ends of runs have calls. `since_ms` and `until_ms` bound the entry's time, Unix
    milliseconds, from and below.
    """

    tenant: str | None = None
    key: str | None = None
    kind: str | None = None
    reason: str | None = None
    script_sha256: str | None = None
    function: str | None = None
    effect: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, fields: Mapping[str, Any]) -> bool:
        """Tell whether a leaf says what is asked for, calls aside."""
        for name in ("tenant", "kind", "reason", "script_sha256"):
            wanted = getattr(self, name)
            if wanted is not None and fields.get(name) != wanted:
                return False
        if self.key is not None and self.key not in {fields.get("key"), _key_of(fields)}:
            return False
        at_ms = fields.get("at_ms")
        at_ms = at_ms if isinstance(at_ms, int) else 0
        after = self.since_ms is None or at_ms >= self.since_ms
        return after and (self.until_ms is None or at_ms < self.until_ms)

    def takes_call(self, call: Mapping[str, Any]) -> bool:
        """Tell whether a call is one that is asked for."""
        name = str(call.get("name"))
        named = (
            self.function is None or name == self.function or name.startswith(f"{self.function}.")
        )
        return named and self.effect in {None, call.get("effect")}

    @property
    def of_calls(self) -> bool:
        """Tell whether something is asked of calls."""
        return self.function is not None or self.effect is not None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that fits: its index, its bytes, what they say, and the calls that fit."""

    index: int
    data: bytes
    fields: Mapping[str, Any]
    calls: list[dict[str, Any]]


def select(source: SqliteSource | TileSource, wanted: Filter) -> Iterator[Entry]:
    """Give the entries that fit, in order."""
    for row in source.rows():
        fields = read_leaf(row.data)
        if not wanted.takes(fields):
            continue
        calls: list[dict[str, Any]] = []
        if isinstance(source, SqliteSource) and fields.get("kind") == LeafKind.RUN_FINISHED:
            found = calls_of(source, fields)
            calls = [{"index": row.index, **one} for one in found if wanted.takes_call(one)]
        if calls or not wanted.of_calls:
            yield Entry(row.index, row.data, fields, calls)


def calls_of(source: SqliteSource, leaf: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the calls of a run by the lines of its tape, in the order of their numbers."""
    tape = leaf.get("tape")
    if not isinstance(tape, dict):
        return []
    calls: dict[Any, dict[str, Any]] = {}
    for _, data in source.lines(str(tape.get("id"))):
        line = read_leaf(data)
        facts = line.get("facts")
        if line.get("kind") not in {"intent", "effect"} or not isinstance(facts, dict):
            continue
        seq = facts.get("seq")
        begun = {"at_ms": line.get("at_ms"), "run": leaf.get("id"), "tenant": leaf.get("tenant")}
        call = calls.setdefault(seq, begun | {"seq": seq} | dict.fromkeys(_CALL))
        call.update({name: facts[name] for name in _CALL if name in facts})
    for call in calls.values():
        call["effect"] = call["effect"] or OPEN
    return list(calls.values())


def entry_row(entry: Entry) -> dict[str, Any]:
    """Give an entry as a row of the table `entries`."""
    fields = entry.fields
    usage, counted = fields.get("usage"), fields.get("calls")
    usage = usage if isinstance(usage, dict) else {}
    told = {name: fields.get(name) for name in ENTRIES if name not in _USAGE}
    told |= {name: usage.get(name) for name in _USAGE}
    told["index"], told["leaf"] = entry.index, entry.data.decode("utf-8", "replace")
    told["key"] = fields.get("key") or _key_of(fields)
    told["calls"] = sum(counted.values()) if isinstance(counted, dict) else None
    return {name: _fits(told.get(name), kind) for name, kind in ENTRIES.items()}


def call_row(call: Mapping[str, Any]) -> dict[str, Any]:
    """Give a call as a row of the table `calls`."""
    return {name: _fits(call.get(name), kind) for name, kind in CALLS.items()}


def _key_of(fields: Mapping[str, Any]) -> Any:
    kind = fields.get("kind")
    return fields.get("id") if isinstance(kind, str) and kind.startswith("key.") else None


def _fits(value: Any, kind: str) -> Any:
    """Give a value of a column's type, None for any other: an entry may have been forged."""
    if kind == "BIGINT":
        whole = isinstance(value, int) and not isinstance(value, bool)
        return value if whole and abs(value) < 1 << 63 else None
    return value if isinstance(value, bool if kind == "BOOLEAN" else str) else None
