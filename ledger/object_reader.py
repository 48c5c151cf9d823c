"""
Reading an archive of objects.

Runs in: sequencer, api, CLI. Trusts: the journal, as far as each entry names the one before.
Refuses: a journal with a gap. May import: stdlib, orjson, core, ledger.

The journal is followed into a view, so that anything can be found; what is found is read from the
objects. Everything that a method gives is as the journal stood when the reader was opened, or
when `refresh` was called last.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import orjson

from ledger.archive import Found, Payload
from ledger.journal import PREFIX, START, Entry, entry_name, entry_number, read_entry
from ledger.journal_view import JournalView
from ledger.objects import ObjectStore
from ledger.tiles import LedgerDamaged

CHECKPOINT = "checkpoint"
_AT_ONCE = 32
_PAGE = 1_000
_PARTS = 4
_PAYLOAD = "SELECT id, tenant, run, at_ms, key, object, at, length FROM payloads"


class ObjectReader:
    """An archive of objects, open for reading. One thread at a time."""

    def __init__(self, store: ObjectStore, view: JournalView) -> None:
        self._store = store
        self._view = view
        #: Parts of packs that were read last, by object and place.
        self._parts: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._keys: dict[str, bytes | None] = {}
        self.refresh()

    @property
    def size(self) -> int:
        """Count the leaves."""
        return self._view.size

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile as the leaves make it; empty when there is none."""
        return self._view.tile(level, number)

    def leaves(self, start: int = 0) -> Iterator[Found]:
        """Give all leaves from `start` on, in order."""
        query = "SELECT idx, entry, at, length FROM leaves WHERE idx >= ? ORDER BY idx LIMIT ?"
        number, text = -1, b""
        while rows := self._view.all(query, start, _PAGE):
            for index, entry, at, length in rows:
                if entry != number:
                    number, text = entry, self._entry_text(entry)
                yield Found(index, text[at : at + length])
            start = rows[-1][0] + 1

    def find(self, subject: str) -> list[Found]:
        """Give the leaves about one subject, in order."""
        query = "SELECT idx, entry, at, length FROM leaves WHERE subject = ? ORDER BY idx"
        return [Found(row[0], self._part(*row[1:])) for row in self._view.all(query, subject)]

    def tape(self, tape: str) -> list[bytes]:
        """Give the lines of a tape, in order."""
        return [data for _, data in self.lines(tape)]

    def lines(self, tape: str) -> list[tuple[int, bytes]]:
        """Give number and bytes of a tape's lines, in order."""
        query = "SELECT entry, at, spans FROM tapes WHERE tape = ? AND NOT staged"
        found = []
        for entry, at, text in self._view.all(query, tape):
            spans = orjson.loads(text)
            data, place = self._part(entry, at, sum(length for _, length in spans)), 0
            for seq, length in spans:
                found.append((seq, data[place : place + length]))
                place += length
        return sorted(found)

    def payload(self, payload_id: str) -> Payload | None:
        """
        Give a payload, None when it is not there.

        One whose object is gone is looked for again: an erasure may have moved it meanwhile.
        """
        row = self._view.one(f"{_PAYLOAD} WHERE id = ?", payload_id)
        found = self._payload(row) if row else None
        if row is None or found is not None:
            return found
        self.refresh()
        again = self._view.one(f"{_PAYLOAD} WHERE id = ?", payload_id)
        return self._payload(again) if again else None

    def data_keys(self) -> dict[str, bytes]:
        """Give the wrapped data key of every tenant that has one."""
        found = {}
        for tenant, name in self._view.all("SELECT tenant, object FROM data_keys"):
            if name not in self._keys:
                self._keys[name] = self._store.get(name)
            record = self._keys[name]
            if record is not None:
                found[tenant] = record
        return found

    def checkpoint(self) -> str | None:
        """Give the newest checkpoint."""
        row = self._view.one("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return row[0] if row else None

    def close(self) -> None:
        """Let go of it."""
        self._view.close()
        self._store.close()

    # --- following the journal -----------------------------------------------------------------

    def refresh(self) -> None:
        """
        Follow the journal to its end.

        Raises:
            LedgerDamaged: it has a gap, or an entry that does not go on from the one before.
        """
        for entry in entries(self._store, self._view.head.next):
            self._view.apply(entry)

    # --- parts ---------------------------------------------------------------------------------

    def _payload(self, row: Any) -> Payload | None:
        payload_id, tenant, run, at_ms, key, name, at, length = row
        start, end = at, at + length
        if run:
            # The payloads of a run are asked for one after another, and stand in one piece.
            query = "SELECT min(at), max(at + length) FROM payloads WHERE run = ? AND object = ?"
            start, end = self._view.one(query, run, name)
        data = self._piece(name, start, end - start)
        if data is None:
            return None
        place = at - start
        return Payload(payload_id, tenant, run, at_ms, key, data[place : place + length])

    def _piece(self, name: str, at: int, length: int) -> bytes | None:
        if (name, at) not in self._parts:
            data = self._store.get_part(name, at, length)
            if data is None:
                return None
            self._parts[name, at] = data
            if len(self._parts) > _PARTS:
                self._parts.popitem(last=False)
        return self._parts[name, at]

    def _entry_text(self, number: int) -> bytes:
        text = self._store.get(entry_name(number))
        if text is None:
            raise LedgerDamaged(f"entry {number} of the journal is gone")
        return text

    def _part(self, number: int, at: int, length: int) -> bytes:
        data = self._store.get_part(entry_name(number), at, length)
        if data is None:
            raise LedgerDamaged(f"entry {number} of the journal is gone")
        return data


def entries(store: ObjectStore, start: int) -> Iterator[Entry]:
    """
    Give the entries of the journal from number `start` on.

    Raises:
        LedgerDamaged: one is missing that has one behind it, or one is none.
    """
    count = 1
    while True:
        found = store.get_all([entry_name(number) for number in range(start, start + count)])
        for text in found:
            if text is None:
                break
            yield read_entry(text)
            start += 1
        else:
            count = _AT_ONCE  # there is more than the one that was hoped for
            continue
        if count > 1 or start == 0:
            check_no_gap(store, start)
        return


def check_no_gap(store: ObjectStore, end: int) -> None:
    """
    See to it that no entry stands behind the last.

    Raises:
        LedgerDamaged: one does, with none before it.
    """
    behind = entry_name(end - 1) if end else PREFIX
    for name in store.names(PREFIX, behind):
        number = entry_number(name)
        if number is not None and number > end:
            raise LedgerDamaged(f"entry {end} of the journal is gone")
        if number == end:
            return  # it was written meanwhile


def is_same(store: ObjectStore, view: JournalView) -> bool:
    """Tell whether a view was made of this journal: its last entry is still there as it was."""
    head = view.head
    if head.next == 0:
        return head.digest == START
    text = store.get(entry_name(head.next - 1))
    return text is not None and hashlib.sha256(text).hexdigest() == head.digest
