"""
Verifying the log: every leaf, every tile, every checkpoint, and an earlier one from outside.

Runs in: CLI. Trusts: the log's public key, checkpoints that the auditor kept. Refuses: nothing
silently: whatever does not hold becomes a finding that names it. May import: stdlib, core, ledger.

The tree is made anew from the stored bytes of the leaves, in one pass. Tiles tell which leaf is
not the one that was appended; checkpoints tell that no other tree was put in the place of the one
that was signed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import Invalid
from ledger.audit_source import LeafRow, LogSource
from ledger.leaves import MAX_LEAF_BYTES, LeafKind, read_leaf
from ledger.log_keys import Rotations, Verifier, all_keys
from ledger.merkle import EMPTY_ROOT, HASH_BYTES, leaf_hash, node_hash
from ledger.notes import Checkpoint, VerifyKey
from ledger.tiles import FULL_BYTES, HEIGHT, WIDTH, LedgerDamaged

_TEXTS = ("kind", "id", "tenant")
_MAX_MISSING = 100_000


@dataclass(frozen=True, slots=True)
class Finding:
    """
    Something that does not hold.

    `index`, `kind` and `subject` are those of the leaf it is about, None or empty if of none.
    """

    what: str
    index: int | None = None
    kind: str = ""
    subject: str = ""

    def __str__(self) -> str:
        """Write it in one line."""
        if self.index is None:
            return self.what
        named = " ".join(one for one in (self.kind, self.subject) if one)
        return f"entry {self.index} ({named or 'unreadable'}): {self.what}"


Report = Callable[[Finding], None]
_Signed = tuple[int, bytes, str]


class TreeCheck:
    """One pass over the leaves. `size` counts them; `signed` those under the newest checkpoint."""

    def __init__(
        self,
        source: LogSource,
        key: Verifier,
        kept: Iterable[tuple[Checkpoint, str]],
        report: Report,
    ) -> None:
        self._source = source
        self._report = report
        self._tiles: list[bytearray] = []
        self._peaks: list[tuple[int, bytes]] = []
        self._subjects: list[tuple[str, str]] = []
        self._damaged = False
        self.size = 0
        #: Sizes of the archive's checkpoints with who signed each, and entries of changes of key.
        self._signers: list[tuple[int, list[VerifyKey]]] = []
        self._rotated: list[tuple[int, Mapping[str, Any]]] = []
        self._good = 0
        self.signed = 0
        self._due = sorted(self._open(key, kept), key=lambda one: one[0])
        self.checkpoints = len(self._due)
        while self._due and self._due[0][0] == 0:
            self._hold(self._due.pop(0))

    def _open(self, key: Verifier, kept: Iterable[tuple[Checkpoint, str]]) -> Iterator[_Signed]:
        own = self._source.checkpoints()
        if not own:
            self._report(Finding("there is no checkpoint: nothing in this archive is proved"))
        for size, note in own:
            try:
                signed = key.open(note)
            except Invalid as error:
                self._report(Finding(f"checkpoint {size}: {error.detail}"))
                continue
            if signed.size != size:
                self._report(Finding(f"checkpoint {size}: it is that of {signed.size} leaves"))
            self._signers.append((signed.size, all_keys(key).signers(note)))
            yield signed.size, signed.root, "the archive"
        for signed, where in kept:
            yield signed.size, signed.root, where

    def add(self, row: LeafRow) -> dict[str, Any]:
        """Take the next leaf; give what it says."""
        fields = read_leaf(row.data)
        kind, subject = (one if isinstance(one := fields.get(n), str) else "" for n in _TEXTS[:2])
        if not fields and row.columns is not None:  # what it was, at least by what stands beside
            kind, subject = (str(one or "") for one in row.columns[:2])
        if row.index != self.size:
            self._fill(row.index)
        self._check_row(row, fields, kind, subject)
        self._append(leaf_hash(row.data), kind, subject)
        if kind == LeafKind.LOG_ROTATED:
            self._rotated.append((row.index, fields))
        return fields

    def finish(self) -> None:
        """Hold what is left: tiles that are not full, and checkpoints of more leaves than here."""
        for level, tile in enumerate(self._tiles):
            if tile:
                number = (self.size >> HEIGHT * level) // WIDTH
                self._compare(level, number, bytes(tile))
        for level, number in self._source.tile_ids():
            if not (0 <= level < 8 and 0 <= number < -(-(self.size >> HEIGHT * level) // WIDTH)):
                self._report(Finding(f"tile {number} of level {level} belongs to no entry"))
        rotations = Rotations.of(self._rotated)
        for size, signers in self._signers:
            end = rotations.ended(signers, size)
            if end is not None:
                what = f"checkpoint {size}: it is signed with a key that entry {end} replaced"
                self._report(Finding(what))
        for size, _, where in self._due[:1]:
            self._report(
                Finding(
                    f"the archive has {self.size} entries, but a checkpoint of {size} was signed"
                    f" ({where} has it): its end was cut off"
                )
            )

    def _append(self, hashed: bytes, kind: str, subject: str) -> None:
        self._subjects.append((kind, subject))
        self._push(0, self.size, hashed)
        self.size += 1
        while self._due and self._due[0][0] == self.size:
            self._hold(self._due.pop(0))

    def _fill(self, index: int) -> None:
        """Tell of entries that are missing before `index`, and leave their places."""
        if not 0 <= index - self.size <= _MAX_MISSING:
            raise LedgerDamaged(
                f"after {self.size} entries of the archive stands the number {index}"
            )
        self._damaged = True
        while self.size < index:
            self._report(Finding("it is missing", self.size, "gone"))
            self._append(bytes(HASH_BYTES), "gone", "")

    def _check_row(self, row: LeafRow, fields: Any, kind: str, subject: str) -> None:
        if not fields or not 0 < len(row.data) <= MAX_LEAF_BYTES:
            self._report(Finding("it is no leaf", row.index, kind, subject))
        if row.columns is None:
            return
        texts = [one if isinstance(one := fields.get(name), str) else None for name in _TEXTS]
        at_ms = fields.get("at_ms")
        whole = at_ms if isinstance(at_ms, int) and abs(at_ms) < 1 << 63 else None
        for name, said, meant in zip(
            ("kind", "subject", "tenant", "at_ms"), row.columns, [*texts, whole], strict=True
        ):
            if said != meant:
                what = f"its column {name} does not say what its bytes say"
                self._report(Finding(what, row.index, kind, subject))

    def _push(self, level: int, number: int, found: bytes) -> None:
        if level == 0:
            self._add_peak(found)
        if level == len(self._tiles):
            self._tiles.append(bytearray())
        tile = self._tiles[level]
        tile += found
        if len(tile) == FULL_BYTES:
            full = bytes(tile)
            tile.clear()
            self._compare(level, number // WIDTH, full)
            self._push(level + 1, number // WIDTH, _reduce(full))

    def _add_peak(self, found: bytes) -> None:
        size = 1
        while self._peaks and self._peaks[-1][0] == size:
            found = node_hash(self._peaks.pop()[1], found)
            size *= 2
        self._peaks.append((size, found))

    def _root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def _hold(self, signed: _Signed) -> None:
        size, root, where = signed
        if root == self._root():
            self._good = self.signed = size
        elif not self._damaged:
            self._damaged = True
            self._report(
                Finding(
                    f"the tree of {size} entries is not the one that was signed ({where} has its"
                    f" checkpoint): something in the entries {self._good} to {size - 1} was changed"
                )
            )

    def _compare(self, level: int, number: int, made: bytes) -> None:
        first = number * WIDTH
        names, self._subjects = (
            (self._subjects, []) if level == 0 else ([("", "")] * WIDTH, self._subjects)
        )
        if self._source.tile(level, number) == made:
            return
        found = self._source.tile(level, number)
        self._damaged = True
        if len(found) != len(made):
            hashes = len(found) // HASH_BYTES
            what = f"tile {number} of level {level} has {hashes} hashes, not"
            self._report(Finding(f"{what} {len(made) // HASH_BYTES}"))
        for at in _differing(found, made):
            if level == 0:
                what = "its bytes are not those that were appended (its tile has another hash)"
                self._report(Finding(what, first + at, *names[at]))
            else:
                self._report(Finding(f"tile {number} of level {level} is wrong in its hash {at}"))


def _differing(found: bytes, made: bytes) -> Sequence[int]:
    both = range(0, min(len(found), len(made)), HASH_BYTES)
    return [
        at // HASH_BYTES for at in both if found[at : at + HASH_BYTES] != made[at : at + HASH_BYTES]
    ]


def _reduce(data: bytes) -> bytes:
    hashes = [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
    while len(hashes) > 1:
        hashes = [node_hash(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
    return hashes[0]
