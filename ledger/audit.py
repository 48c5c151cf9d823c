"""
Verifying a whole archive offline: log, tapes, payloads, keys and checkpoints.

Runs in: CLI. Trusts: the log's public key, checkpoints that the auditor kept, and for payloads the
master keys behind `opener`. Refuses: nothing silently: whatever does not hold is a finding.
May import: stdlib, core, ledger.

The leaves are read once, in order. Each end of a run is held to the leaf of its acceptance, which
is kept in memory as long as the run is open; what runs share (scripts, surfaces) is held at the
end. Rows that no leaf accounts for are findings too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from core.errors import Invalid, ServiceError
from ledger.archive import Payload
from ledger.audit_runs import Counts, EndedRun, Opener
from ledger.audit_source import DAMAGE, LogSource, SqliteSource
from ledger.audit_tree import Finding, Report, TreeCheck
from ledger.erasures import Erasures
from ledger.leaves import LeafKind
from ledger.log_keys import Verifier
from ledger.tiles import LedgerDamaged

_SHARED = ("script", "surface")


@dataclass(slots=True)
class Verified:
    """
    What was verified.

    `size` counts the leaves, `signed` those under a checkpoint; `findings` is how many things do
    not hold. `tapes` is None for an archive that has none.
    """

    size: int = 0
    signed: int = 0
    checkpoints: int = 0
    findings: int = 0
    tapes: Counts | None = None


@dataclass(slots=True)
class _Shared:
    """A payload that runs of one tenant share: whether it must be there, whether it may."""

    must: bool = False
    may: bool = False
    at_ms: set[Any] = field(default_factory=set)


def verify_archive(
    source: LogSource,
    key: Verifier,
    report: Report,
    *,
    kept: Sequence[tuple[str, str]] = (),
    opener: Opener | None = None,
) -> Verified:
    """
    Verify an archive; `report` is told of everything that does not hold.

    Args:
        source: the archive.
        key: the log's public key, from outside of the archive.
        report: called for each finding, as it is made.
        kept: earlier checkpoints: where each is from, and its note.
        opener: opens payloads that are sealed.

    Raises:
        Invalid: a kept checkpoint is not of this log.
    """
    verified = Verified()

    def count(finding: Finding) -> None:
        verified.findings += 1
        report(finding)

    held = [(key.open(note), where) for where, note in kept]
    damage = source.damage()
    if damage is not None:
        count(Finding(f"the file is damaged: {damage}"))
    try:
        _walk(source, TreeCheck(source, key, held, count), opener, count, verified)
    except (LedgerDamaged, *DAMAGE) as error:
        count(Finding(f"the archive cannot be read on: {error}"))
    except (AttributeError, TypeError, ValueError, OverflowError):
        if damage is None:
            raise
        count(Finding("the archive cannot be read on"))  # a column of another type than it may be
    return verified


def _walk(
    source: LogSource, tree: TreeCheck, opener: Opener | None, report: Report, verified: Verified
) -> None:
    runs = _Runs(source, opener, report) if isinstance(source, SqliteSource) else None
    verified.checkpoints = tree.checkpoints
    for row in source.rows():
        fields = tree.add(row)
        verified.size, verified.signed = tree.size, tree.signed
        if runs is not None:
            runs.add(row.index, fields)
    tree.finish()
    if runs is not None:
        runs.finish()
        verified.tapes = runs.counts
        for what in runs.changed():
            report(Finding(what))


class _Runs:
    """Tapes and payloads, held to the leaves as these come."""

    def __init__(self, source: SqliteSource, opener: Opener | None, report: Report) -> None:
        self._source = source
        self._report = report
        self._key_ids = self._read_keys(source.data_keys())
        self._open = opener or (lambda payload: None if payload.key_id else payload.data)
        self._erasures = Erasures.of(source.of_kind(LeafKind.PAYLOADS_DELETED))
        self._accepted: dict[str, tuple[int, Mapping[str, Any]]] = {}
        self._shared: dict[str, _Shared] = {}
        self._shared_at = source.shared_times()
        self._staged = source.staged()
        self._lines = 0
        self._payloads = 0
        self._tapes: set[str] = set()
        self.counts = Counts()

    def changed(self) -> Iterator[str]:
        return self._source.changed()

    def add(self, index: int, fields: Mapping[str, Any]) -> None:
        kind, run = fields.get("kind"), fields.get("id")
        if not isinstance(run, str):
            return
        if kind == LeafKind.RUN_ACCEPTED:
            if run in self._accepted:
                self._report(Finding("the run was accepted before", index, str(kind), run))
            self._accepted[run] = (index, fields)
        elif kind == LeafKind.RUN_FINISHED:
            self._end(index, run, fields)

    def _end(self, index: int, run: str, fields: Mapping[str, Any]) -> None:
        began, accepted = self._accepted.pop(run, (index, {}))
        tenant, ended_ms = str(fields.get("tenant")), fields.get("at_ms")
        named = fields.get("tape")
        tape = str(named.get("id")) if isinstance(named, dict) else ""
        erased = self._erasures.covers(index, run, tenant, ended_ms)
        one = EndedRun(
            leaf=fields,
            accepted=accepted,
            lines=self._source.lines(tape),
            payloads=self._source.payloads_of(run),
            opener=self._opened,
            erased=erased,
            input_erased=erased or self._erasures.covers(began, run, tenant, None),
            counts=self.counts,
        )
        self.counts.runs += 1
        for what in one.check():
            self._report(Finding(what, index, LeafKind.RUN_FINISHED, run))
        self._strays(one.payloads, one.known, index, run)
        if tape in self._tapes and tape:
            self._report(Finding("its tape is another run's", index, LeafKind.RUN_FINISHED, run))
        self._lines += len(one.lines)
        self._payloads += len(one.payloads)
        self._tapes.add(tape)
        if accepted:
            self._share(accepted, kept=None, erased=one.input_erased)
        self._share(fields, kept=fields.get("kept"), erased=erased)

    def _share(self, leaf: Mapping[str, Any], *, kept: Any, erased: bool) -> None:
        """Note that a leaf names a script and a surface."""
        for name in _SHARED:
            digest = leaf.get(f"{name}_sha256")
            if isinstance(digest, str):
                payload_id = f"{name}/{leaf.get('tenant')}/{digest}"
                shared = self._shared.setdefault(payload_id, _Shared())
                shared.may |= not erased
                shared.must |= not erased and isinstance(kept, list) and name in kept
                at_ms = leaf.get("at_ms")
                if at_ms == self._shared_at.get(payload_id):
                    shared.at_ms.add(at_ms)

    def finish(self) -> None:
        for run, (index, fields) in self._accepted.items():
            tenant = str(fields.get("tenant"))
            gone = self._erasures.covers(index, run, tenant, None)
            self._share(fields, kept=None, erased=gone)
            self._unended(index, run, fields)
        self._check_shared()
        self._check_accounted()

    def _unended(self, index: int, run: str, fields: Mapping[str, Any]) -> None:
        payloads = self._source.payloads_of(run)
        name = f"input/{run}"
        self._payloads += len(payloads)
        if name in payloads:
            self.counts.payloads += 1
            told = (payloads[name].tenant, payloads[name].at_ms)
            if told != (fields.get("tenant"), fields.get("at_ms")):
                what = "its input is kept under another tenant or time"
                self._report(Finding(what, index, LeafKind.RUN_ACCEPTED, run))
        self._strays(payloads, {name}, index, run)

    def _strays(
        self, payloads: Mapping[str, Payload], known: set[str], index: int, run: str
    ) -> None:
        for payload_id in sorted(set(payloads) - known - self._staged):
            what = f"the payload {payload_id} is kept with it, and does not belong to it"
            self._report(Finding(what, index, LeafKind.RUN_FINISHED, run))

    def _check_shared(self) -> None:
        found = 0
        for payload in self._source.shared():
            found += 1
            shared = self._shared.pop(payload.id, None)
            if shared is not None:
                self._check_one(payload, shared)
            elif payload.id not in self._staged:
                self._report(Finding(f"the payload {payload.id} belongs to no run"))
        self._payloads += found
        for payload_id, shared in self._shared.items():
            if shared.must:
                what = "is missing, and no entry tells that it was erased"
                self._report(Finding(f"the payload {payload_id} {what}"))
            self.counts.erased += not shared.may

    def _check_one(self, payload: Payload, shared: _Shared) -> None:
        self.counts.payloads += 1
        name, tenant, digest = (*payload.id.split("/"), "", "")[:3]
        try:
            opened = self._opened(payload)
        except ServiceError as error:
            self._report(Finding(f"the payload {payload.id} does not open: {error.detail}"))
            return
        self.counts.unopened += opened is None
        if not shared.may:
            self._report(Finding(f"the {name} {digest} of {tenant} was erased, and is there"))
        if payload.tenant != tenant or payload.at_ms not in shared.at_ms:
            self._report(Finding(f"the payload {payload.id} is kept under another tenant or time"))
        if opened is not None and hashlib.sha256(opened).hexdigest() != digest:
            self._report(Finding(f"the {name} {digest} of {tenant} was changed"))

    def _check_accounted(self) -> None:
        """Name rows that no leaf accounts for. As long as there are none, counting is enough."""
        if self._source.count("tape_entries") != self._lines:
            for tape, seq in self._source.line_ids():
                if tape not in self._tapes and f"tape/{tape}/{seq}" not in self._staged:
                    self._report(Finding(f"line {seq} of tape {tape}: no entry names this tape"))
        if self._source.count("payloads") != self._payloads:
            for payload_id in self._source.orphans():
                if payload_id not in self._staged:
                    self._report(Finding(f"the payload {payload_id} belongs to no run"))

    def _opened(self, payload: Payload) -> bytes | None:
        if payload.key_id and payload.key_id != self._key_ids.get(payload.tenant):
            raise Invalid(f"it is sealed with a key of {payload.tenant} that is not there")
        return self._open(payload)

    def _read_keys(self, records: Mapping[str, bytes]) -> dict[str, str]:
        found: dict[str, str] = {}
        for tenant, record in records.items():
            try:
                found[tenant] = str(orjson.loads(record)["id"])
            except (ValueError, TypeError, KeyError):
                self._report(Finding(f"the data key of {tenant} is malformed"))
        return found
