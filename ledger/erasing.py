"""
Deleting payloads: what an erasure covers, and the leaf that tells of it for ever.

Runs in: CLI, where the archive is. Trusts: the archive. Refuses: a run that has not ended or is not
archived yet. May import: stdlib, core, ledger.

Whoever erases takes the archive over like a sequencer: one that is at work loses its epoch, writes
nothing more with keys that are gone, and begins again some seconds later. The leaf and the
deletion are one transaction. What runs share (scripts, surfaces) goes with the last run of the
tenant that names it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from core.errors import NotFound
from ledger.archive import ErasableArchive, Erasing, NewLeaf
from ledger.erasures import Erasures
from ledger.leaves import LeafKind, leaf, read_leaf

_SHARED = ("script", "surface")


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What is to be erased: one run, or what ended before a time, or all that a tenant has.

    `before_ms` is in Unix milliseconds. With `before_ms`, `tenant` empty means all tenants.
    """

    run: str = ""
    tenant: str = ""
    before_ms: int | None = None

    @property
    def scope(self) -> str:
        """Give the word for it in the leaf."""
        if self.run:
            return "run"
        return "tenant" if self.before_ms is None else "age"


@dataclass(slots=True)
class Erased:
    """What was erased: runs with their tenants, digests of their scripts, payloads."""

    runs: dict[str, str] = field(default_factory=dict)
    scripts: set[str] = field(default_factory=set)
    payloads: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """A leaf of a run's beginning or end."""

    index: int
    run: str
    tenant: str
    ended_ms: int | None
    shared: tuple[str, ...]
    script: str


def erase(
    archive: ErasableArchive, wish: Wish, at_ms: int, elsewhere: Callable[[Erased], None]
) -> Erased:
    """
    Erase; give what was. `elsewhere` removes what others have of the same runs.

    It is called first: what is erased is chosen by what the archive has, so that a second try after
    a failure anywhere finds the same runs.

    Raises:
        NotFound: no such run has ended in this archive.
        Unavailable: the archive takes no writes.
    """
    epoch = archive.take_over()
    known = list(_runs_of(archive))
    erasures = Erasures.of((found.index, found.data) for found in archive.leaves())
    erased = _chosen(known, wish, erasures)
    if wish.run and wish.run not in erased.runs:
        raise NotFound(
            f"{wish.run} has not ended in this archive", hint="has the sequencer taken its end?"
        )
    told = {"scope": wish.scope, "id": wish.run, "tenant": wish.tenant, "before_ms": wish.before_ms}
    erasures.add(archive.size, told)
    shared = _no_longer_named(known, erasures)
    tenants = [wish.tenant] if wish.scope == "tenant" else []
    elsewhere(erased)
    if not erased.runs and not tenants:
        archive.tidy()
        return erased
    owner = erased.runs[wish.run] if wish.run else wish.tenant
    facts: dict[str, Any] = {"scope": wish.scope, "runs": len(erased.runs)}
    if wish.before_ms is not None:
        facts["before_ms"] = wish.before_ms
    data = leaf(
        LeafKind.PAYLOADS_DELETED, wish.run or wish.tenant, tenant=owner, at_ms=at_ms, **facts
    )
    entry = NewLeaf(f"erase-{secrets.token_hex(16)}", data)
    erasing = Erasing(list(erased.runs), shared, tenants)
    erased.payloads = archive.erase(epoch, entry, erasing)
    archive.tidy()
    return erased


def _runs_of(archive: ErasableArchive) -> Iterator[_Known]:
    for found in archive.leaves():
        fields = read_leaf(found.data)
        kind, run, tenant = fields.get("kind"), fields.get("id"), fields.get("tenant")
        ended = kind == LeafKind.RUN_FINISHED
        if not (ended or kind == LeafKind.RUN_ACCEPTED):
            continue
        digests = {name: fields.get(f"{name}_sha256") for name in _SHARED}
        yield _Known(
            index=found.index,
            run=str(run),
            tenant=str(tenant),
            ended_ms=fields.get("at_ms") if ended else None,
            shared=tuple(f"{name}/{tenant}/{one}" for name, one in digests.items() if one),
            script=str(digests["script"] or ""),
        )


def _chosen(known: list[_Known], wish: Wish, before: Erasures) -> Erased:
    erased = Erased()
    for one in known:
        if one.ended_ms is None or (wish.tenant and one.tenant != wish.tenant):
            continue
        young = wish.before_ms is not None and one.ended_ms >= wish.before_ms
        if one.run == wish.run or not (
            wish.run or young or before.covers(one.index, one.run, one.tenant, one.ended_ms)
        ):
            erased.runs[one.run] = one.tenant
            erased.scripts.add(one.script)
    return erased


def _no_longer_named(known: list[_Known], erasures: Erasures) -> list[str]:
    """Give what runs shared and no run names whose payloads are to stay."""
    ends = {one.run: one for one in known if one.ended_ms is not None}
    named: set[str] = set()
    gone: set[str] = set()
    for one in known:
        end = ends.get(one.run, one)
        covered = erasures.covers(one.index, one.run, one.tenant, None) or erasures.covers(
            end.index, end.run, end.tenant, end.ended_ms
        )
        (gone if covered else named).update(one.shared)
    return sorted(gone - named)
