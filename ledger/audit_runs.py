"""
Verifying one run: its tape against its leaf, its payloads against both.

Runs in: CLI. Trusts: nothing of what it reads. Refuses: nothing silently: each thing that does not
hold is told in words. May import: stdlib, orjson, core, ledger.

What a body says can be held to its line only while it is there and can be opened. What was erased,
and what is sealed with a key that is not here, is counted and proves nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from core.errors import ServiceError
from ledger.archive import Payload
from ledger.called import Called
from ledger.leaves import commit, read_leaf
from ledger.merkle import leaf_hash, root_of
from ledger.taking import SALT_BYTES, known_effect, some_facts, terms_of

_HEX_256 = re.compile(r"[0-9a-f]{64}")
_EFFECTS = {"succeeded", "failed", "denied", "unknown", "planned"}
_TERMS = ("key", "script_sha256", "seed", "mode", "limits", "grants")
#: Gives the bytes of a payload, None if they are sealed with a key that is not here.
Opener = Callable[[Payload], bytes | None]


@dataclass(slots=True)
class Counts:
    """What was looked at: lines of tapes, payloads, those sealed and not opened, those erased."""

    runs: int = 0
    lines: int = 0
    payloads: int = 0
    unopened: int = 0
    erased: int = 0


@dataclass(slots=True)
class EndedRun:
    """The end of a run, with the leaf of its acceptance, and what the archive has of it."""

    leaf: Mapping[str, Any]
    accepted: Mapping[str, Any]
    lines: Sequence[tuple[int, bytes]]
    payloads: Mapping[str, Payload]
    opener: Opener
    erased: bool
    input_erased: bool
    counts: Counts
    #: Ids of payloads that this run accounts for.
    known: set[str] = field(default_factory=set)
    _bodies: dict[int, bytes] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def check(self) -> Iterator[str]:
        """Tell everything that does not hold."""
        yield from self._check_terms()
        named = self.leaf.get("tape")
        if isinstance(named, dict):
            read = [read_leaf(data) for _, data in self.lines]
            yield from self._check_lines(named, read)
            yield from self._check_bodies(str(named.get("id")), read)
            yield from self._check_facts(read)
            yield from self._check_called(read)
            yield from self._check_digests(read)
        elif self.lines or named is not None:
            yield "it names no tape, or a malformed one"
        yield from self._check_given()

    def _check_terms(self) -> Iterator[str]:
        if not self.accepted:
            yield "there is no entry of its acceptance, or it ended before"
            return
        if self.accepted.get("tenant") != self.leaf.get("tenant"):
            yield "it was accepted for another tenant"
        names = _TERMS if self.leaf.get("tape") else ()
        for name in names:
            if self.leaf.get(name) != self.accepted.get(name):
                yield f"its {name} is not that of its acceptance"
        if self.leaf.get("input") not in {None, self.accepted.get("input")}:
            yield "its input is not that of its acceptance"

    def _check_lines(self, named: Mapping[str, Any], read: list[dict[str, Any]]) -> Iterator[str]:
        self.counts.lines += len(read)
        seqs = [seq for seq, _ in self.lines]
        if len(read) != named.get("entries"):
            yield f"its tape has {len(read)} entries, not {named.get('entries')}"
        for (seq, _), line in zip(self.lines, read, strict=True):
            if line.get("seq") != seq or line.get("run") != self.leaf.get("id"):
                yield f"entry {seq} of its tape is another entry, or of another run"
        if root_of(leaf_hash(data) for _, data in self.lines).hex() != named.get("root"):
            yield "its tape is not the one whose root it names: a line was changed"
        if named.get("whole") is True and seqs != list(range(1, len(seqs) + 1)):
            yield "its tape has a gap, and it says that it has none"

    def _check_bodies(self, tape: str, read: list[dict[str, Any]]) -> Iterator[str]:
        for (seq, _), line in zip(self.lines, read, strict=True):
            place = _Place(f"tape/{tape}/{seq}", f"the body of entry {seq} of its tape")
            opened = yield from self._open(place, line.get("at_ms") or 0)
            if opened is None:
                continue
            if hashlib.sha256(opened).hexdigest() != line.get("body"):
                yield f"{place.what} was changed"
            else:
                self._bodies[seq] = opened[SALT_BYTES:]

    def _check_facts(self, read: list[dict[str, Any]]) -> Iterator[str]:
        """Hold what the leaf says of calls, workers and end to what the lines quote."""
        effects: Counter[str] = Counter()
        begun: set[Any] = set()
        workers: dict[str, None] = {}
        ending: Mapping[str, Any] = {}
        for line in read:
            kind, facts = line.get("kind"), line.get("facts")
            facts = facts if isinstance(facts, dict) else {}
            if kind == "started":
                workers[str(facts.get("worker"))] = None
            elif kind == "intent":
                begun.add(facts.get("seq"))
            elif kind == "effect":
                begun.discard(facts.get("seq"))
                effects[known_effect(facts.get("effect"))] += 1
            elif kind == "finished":
                ending = facts
        if self.leaf.get("calls") != dict(effects) | {"open": len(begun)}:
            yield "its calls are not those of its tape"
        if list(workers)[:16] != self.leaf.get("workers"):
            yield "its workers are not those of its tape"
        for name in ("reason", "attempt"):
            if self.leaf.get(name) != ending.get(name):
                yield f"its {name} is not that of its tape"

    def _check_called(self, read: list[dict[str, Any]]) -> Iterator[str]:
        called = Called()
        for line in read:
            facts = line.get("facts")
            if line.get("kind") == "intent" and isinstance(facts, dict):
                called.note(facts.get("seq"), facts.get("name"))
        counted = called.to_json()
        # Entries of an earlier version do not have it.
        if self.leaf.get("called", counted) != counted:
            yield "the integrations that it called are not those of its tape"

    def _check_digests(self, read: list[dict[str, Any]]) -> Iterator[str]:
        """Hold terms, commitments and usage to the bodies, as far as they are here."""
        kinds = {line.get("seq"): line.get("kind") for line in read}
        first = _last(self._bodies, kinds, "accepted")
        last = _last(self._bodies, kinds, "finished")
        if first:
            for name, value in terms_of(first).items():
                if self.leaf.get(name) != value:
                    yield f"its {name} is not that of its tape"
        for name in ("usage", "versions") if last else ():
            if self.leaf.get(name) != some_facts(last.get(name)):
                yield f"its {name} is not that of its tape"
        for label, body in (("input", first), ("result", last), ("output", last)):
            digest, salt = str(body.get(f"{label}_sha256")), str(first.get("salt"))
            if _HEX_256.fullmatch(digest) and _HEX_256.fullmatch(salt):
                if commit(salt, label, digest) != self.leaf.get(label):
                    yield f"its {label} is not that of its tape"
                self._digests[label] = digest

    def _check_given(self) -> Iterator[str]:
        """Hold input, result and output to their digests."""
        named, kept = self.leaf.get("tape"), self.leaf.get("kept")
        kept = kept if isinstance(kept, list) else []
        ids = {"input": f"input/{self.leaf.get('id')}"}
        if isinstance(named, dict):
            ids |= {name: f"{name}/{named.get('id')}" for name in ("result", "output")}
        for label, payload_id in ids.items():
            gone = self.input_erased if label == "input" else self.erased
            place = _Place(payload_id, f"its {label}", erased=gone, kept=label in kept)
            at = self.accepted if label == "input" else self.leaf
            opened = yield from self._open(place, at.get("at_ms") or 0)
            digest = self._digests.get(label)
            if None not in {opened, digest} and hashlib.sha256(opened or b"").hexdigest() != digest:
                yield f"its {label} was changed"

    def _open(self, place: _Place, at_ms: int) -> Generator[str, None, bytes | None]:
        payload = self.payloads.get(place.id)
        erased = self.erased if place.erased is None else place.erased
        if payload is None:
            if erased:
                self.counts.erased += place.kept
            elif place.kept:
                yield f"{place.what} is missing, and no entry tells that it was erased"
            return None
        self.known.add(place.id)
        self.counts.payloads += 1
        if erased:
            yield f"{place.what} was erased, as an entry tells, and is there"
        if (payload.tenant, payload.at_ms) != (self.leaf.get("tenant"), at_ms):
            yield f"{place.what} is kept under another tenant or time"
        try:
            opened = self.opener(payload)
        except ServiceError as error:
            yield f"{place.what} does not open: {error.detail}"
            return None
        self.counts.unopened += opened is None
        return opened


@dataclass(frozen=True, slots=True)
class _Place:
    """A payload, what it is in words, whether it was erased (None: as the run), ever kept."""

    id: str
    what: str
    erased: bool | None = None
    kept: bool = True


def _last(bodies: Mapping[int, bytes], kinds: Mapping[Any, Any], kind: str) -> Mapping[str, Any]:
    """Give the body of the first `accepted`, or of the last entry of another kind."""
    found = [seq for seq in bodies if kinds.get(seq) == kind]
    if not found:
        return {}
    try:
        read = orjson.loads(bodies[min(found) if kind == "accepted" else max(found)])
    except orjson.JSONDecodeError:
        return {}
    return read if isinstance(read, dict) else {}
