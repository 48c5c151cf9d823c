"""
What was erased, as the log itself tells: leaves of kind `payloads.deleted`.

Runs in: CLI. Trusts: the leaves it is given. Refuses: to take a leaf for an erasure that does not
say of what. May import: stdlib, ledger.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ledger.leaves import LeafKind, read_leaf


@dataclass(slots=True)
class Erasures:
    """
    All erasures of a log. Each covers what was sequenced before it, and nothing later.

    `runs` and `tenants` give the index of the newest one; `ages` lists, in this order, index, the
    time before which runs had ended (Unix milliseconds), and the tenant, empty for all.
    """

    runs: dict[str, int] = field(default_factory=dict)
    tenants: dict[str, int] = field(default_factory=dict)
    ages: list[tuple[int, int, str]] = field(default_factory=list)

    @classmethod
    def of(cls, leaves: Iterable[tuple[int, bytes]]) -> Erasures:
        """Read leaves with their indices; those of other kinds are passed over."""
        made = cls()
        for index, data in leaves:
            fields = read_leaf(data)
            if fields.get("kind") == LeafKind.PAYLOADS_DELETED:
                made.add(index, fields)
        return made

    def add(self, index: int, fields: dict[str, Any]) -> None:
        """Take one erasure."""
        scope, subject, tenant = (fields.get(name) for name in ("scope", "id", "tenant"))
        before_ms = fields.get("before_ms")
        if scope == "run" and isinstance(subject, str):
            self.runs[subject] = index
        elif scope == "tenant" and isinstance(tenant, str):
            self.tenants[tenant] = index
        elif scope == "age" and isinstance(before_ms, int) and isinstance(tenant, str):
            self.ages.append((index, before_ms, tenant))

    def covers(self, index: int, run: str, tenant: str, ended_ms: int | None) -> bool:
        """
        Tell whether the payloads that came with leaf `index` were erased later.

        `ended_ms` is None for a run that has not ended: it has no age.
        """
        if self.tenants.get(tenant, -1) > index or self.runs.get(run, -1) > index:
            return True
        if ended_ms is None:
            return False
        for at, before_ms, whose in reversed(self.ages):
            if at <= index:  # they are in order: all others came before this leaf too
                return False
            if ended_ms < before_ms and whose in {"", tenant}:
                return True
        return False
