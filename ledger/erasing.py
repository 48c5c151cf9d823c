"""
Deleting payloads: what an erasure covers, and the leaf that tells of it for ever.

Runs in: CLI, where the archive is. Trusts: the archive. Refuses: a run that has not ended or is not
archived yet. May import: stdlib, core, ledger.

Whoever erases takes the archive over like a sequencer: one that is at work loses its epoch, writes
nothing more with keys that are gone, and begins again afterwards. Should another one come before
the erasure is written, the erasure is tried again. The leaf and the deletion are one transaction.
What runs share (scripts, surfaces) goes with the last run of the tenant that names it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from core.errors import NotFound
from ledger.archive import ErasableArchive, Erasing, NewLeaf, Outrun
from ledger.erasures import Erasures
from ledger.leaves import LeafKind, leaf, read_leaf

_SHARED = ("script", "surface")
_TRIES = 5


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
    archive: ErasableArchive,
    wish: Wish,
    at_ms: int,
    elsewhere: Callable[[Erased], None],
    resting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Erased:
    """
    Erase; give what was.

    `elsewhere` removes what others have of the same runs. It is called before the archive is
    touched, and once more for what was archived meanwhile: what is erased is chosen by what the
    archive has, so that a second try after a failure anywhere finds the same runs. While `resting`
    is entered, sequencers are to leave the archive alone, if there may be any.

    Raises:
        NotFound: no such run has ended in this archive.
        Unavailable: the archive takes no writes.
        Outrun: others took the archive over again and again.
    """
    log = _Log(archive, wish)
    erased = log.go_on()
    if wish.run and wish.run not in erased.runs:
        raise NotFound(
            f"{wish.run} has not ended in this archive", hint="has the sequencer taken its end?"
        )
    elsewhere(erased)
    for _ in range(_TRIES - 1):
        with suppress(Outrun), resting():
            return _erase(log, at_ms, erased, elsewhere)
    with resting():
        return _erase(log, at_ms, erased, elsewhere)


def _erase(log: _Log, at_ms: int, erased: Erased, elsewhere: Callable[[Erased], None]) -> Erased:
    """Erase with an epoch of our own."""
    archive, wish = log.archive, log.wish
    epoch = archive.take_over()
    late = log.go_on()
    erased.runs.update(late.runs)
    erased.scripts.update(late.scripts)
    elsewhere(late)
    tenants = [wish.tenant] if wish.scope == "tenant" else []
    if erased.runs or tenants:
        erasing = Erasing(list(erased.runs), log.no_longer_named(), tenants)
        entry = NewLeaf(f"erase-{secrets.token_hex(16)}", _told(wish, at_ms, erased))
        erased.payloads = archive.erase(epoch, entry, erasing)
    archive.tidy()
    return erased


def _told(wish: Wish, at_ms: int, erased: Erased) -> bytes:
    """Give the leaf."""
    owner = erased.runs[wish.run] if wish.run else wish.tenant
    facts: dict[str, Any] = {"scope": wish.scope, "runs": len(erased.runs)}
    if wish.before_ms is not None:
        facts["before_ms"] = wish.before_ms
    return leaf(
        LeafKind.PAYLOADS_DELETED, wish.run or wish.tenant, tenant=owner, at_ms=at_ms, **facts
    )


class _Log:
    """
    What the leaves say of runs and erasures, as far as they were read.

    Reading them all takes long in a long log. So they are read while the sequencer is at work, and
    when it rests only what came in between.
    """

    def __init__(self, archive: ErasableArchive, wish: Wish) -> None:
        self.archive = archive
        self.wish = wish
        self._known: list[_Known] = []
        self._erasures = Erasures()
        self._read = 0

    def go_on(self) -> Erased:
        """Read what is new; give what of it is to be erased."""
        fresh: list[_Known] = []
        for found in self.archive.leaves(self._read):
            fields = read_leaf(found.data)
            if fields.get("kind") == LeafKind.PAYLOADS_DELETED:
                self._erasures.add(found.index, fields)
            elif (known := _known(found.index, fields)) is not None:
                fresh.append(known)
            self._read = found.index + 1
        self._known += fresh
        return _chosen(fresh, self.wish, self._erasures)

    def no_longer_named(self) -> list[str]:
        """Give what runs shared and no run names any more once this wish is fulfilled."""
        wish = self.wish
        if wish.scope == "tenant":
            return []  # all payloads of the tenant go, whatever names them
        told = {"scope": wish.scope, "id": wish.run, "tenant": wish.tenant}
        after = deepcopy(self._erasures)
        after.add(self._read, {**told, "before_ms": wish.before_ms})
        return _no_longer_named(self._known, after)


def _known(index: int, fields: dict[str, Any]) -> _Known | None:
    kind, run, tenant = fields.get("kind"), fields.get("id"), fields.get("tenant")
    ended = kind == LeafKind.RUN_FINISHED
    if not (ended or kind == LeafKind.RUN_ACCEPTED):
        return None
    digests = {name: fields.get(f"{name}_sha256") for name in _SHARED}
    return _Known(
        index=index,
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
