"""
The journal: numbered objects, each of which is one write to the archive.

Runs in: sequencer, api, CLI. Trusts: nothing of what it reads but its digest in the next entry.
Refuses: an entry that does not go on from the one before; one of a sequencer whose epoch is over.
May import: stdlib, orjson, core, ledger.

An entry is a line of JSON, then the bytes it tells the lengths of. It names the SHA-256 of the
entry before, so that none can be changed, taken out or put in. An entry is made with the condition
that there is none of its number: whoever comes second has written nothing, and learns by it that
another was at work. That is the whole fence, and the whole transaction.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson

from core.errors import Unavailable
from ledger.archive import NewLeaf, TapeLine
from ledger.tiles import LedgerDamaged

FORMAT = 2
#: Entries of the first format say of payloads what `ledger.packs` tells.
READABLE = (1, FORMAT)
PREFIX = "journal/"
START = "0" * 64
_GROUP = 1_000
_NAME = re.compile(r"journal/(\d{15})/(\d{3})")


@dataclass(frozen=True, slots=True)
class Head:
    """Where the journal stands: the next number, the epoch, and the digest of the last entry."""

    next: int
    epoch: int
    digest: str


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One entry. `start` is where its data begins in the object, `digest` that of the object.

    `whole` tells whether its bytes are those of its own sum.
    """

    number: int
    epoch: int
    prev: str
    kind: str
    body: Mapping[str, Any]
    start: int
    data: bytes
    digest: str
    whole: bool


def entry_name(number: int) -> str:
    """Give the name of an entry's object; names sort as numbers do."""
    return f"{PREFIX}{number // _GROUP:015}/{number % _GROUP:03}"


def entry_number(name: str) -> int | None:
    """Give the number of an entry's object, None for the name of something else."""
    found = _NAME.fullmatch(name)
    return int(found[1]) * _GROUP + int(found[2]) if found else None


def write_entry(head: Head, told: Mapping[str, Any], data: bytes = b"") -> bytes:
    """
    Write the entry that comes after `head`.

    `told` has `epoch`, `kind` and `writer`, a text that no other writer has: two entries of the
    same bytes are one.
    """
    fields = {"v": FORMAT, "number": head.next, "prev": head.digest, **told}
    return _summed(fields, data)


def read_entry(text: bytes) -> Entry:
    """
    Read an entry.

    Raises:
        LedgerDamaged: it is none. Unavailable: it is of a later format.
    """
    line, _, data = text.partition(b"\n")
    try:
        fields = orjson.loads(line)
        told = {name: value for name, value in fields.items() if name != "sum"}
        version = fields.pop("v")
        number, epoch, prev, kind = (fields.pop(one) for one in ("number", "epoch", "prev", "kind"))
        good = isinstance(number, int) and isinstance(epoch, int) and isinstance(prev, str)
    except (orjson.JSONDecodeError, AttributeError, KeyError):
        good = False
    if not good:
        raise LedgerDamaged("an object of the journal is no entry")
    if version not in READABLE:
        raise Unavailable(f"the ledger's archive has format {version}, not {FORMAT}")
    digest = hashlib.sha256(text).hexdigest()
    whole = _summed(told, data) == text
    return Entry(number, epoch, prev, str(kind), fields, len(line) + 1, data, digest, whole)


def follow(head: Head, entry: Entry) -> Head:
    """
    Give where the journal stands after an entry.

    Raises:
        LedgerDamaged: it does not go on from `head`.
    """
    if not entry.whole:
        raise LedgerDamaged(f"entry {head.next} of the journal was changed")
    if (entry.number, entry.prev) != (head.next, head.digest):
        raise LedgerDamaged(
            f"entry {head.next} of the journal does not go on from the one before:"
            " one of the two was changed"
        )
    epoch = head.epoch + 1 if entry.kind == "epoch" else head.epoch
    if entry.epoch != epoch:
        raise LedgerDamaged(f"entry {head.next} of the journal is not of its sequencer's epoch")
    return Head(head.next + 1, epoch, entry.digest)


def _summed(fields: Mapping[str, Any], data: bytes) -> bytes:
    # The last entry is named by none: its own sum tells of what befell it on the way or on a disk.
    found = hashlib.sha256(orjson.dumps(fields) + b"\n" + data).hexdigest()
    return orjson.dumps({**fields, "sum": found}) + b"\n" + data


# --- what entries hold -------------------------------------------------------------------------


def told_leaves(leaves: Sequence[NewLeaf]) -> tuple[list[Any], bytes]:
    """Give what an entry says of leaves, and their bytes."""
    return [[one.inbox_id, len(one.data)] for one in leaves], b"".join(one.data for one in leaves)


def told_tapes(lines: Sequence[TapeLine]) -> tuple[list[Any], bytes]:
    """Give what an entry says of lines of tapes, and their bytes, each tape in one piece."""
    ordered = sorted(lines, key=lambda one: (one.tape, one.seq))
    told = [
        [tape, [[one.seq, len(one.data)] for one in group]]
        for tape, group in groupby(ordered, key=lambda one: one.tape)
    ]
    return told, b"".join(one.data for one in ordered)
