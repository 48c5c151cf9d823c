"""
The archive in objects that are written once: for production, on a directory or in a bucket.

Runs in: sequencer. Trusts: the store, to make an object only where there is none. Refuses: to write
after a later sequencer has begun; an inbox entry twice. May import: stdlib, core, ledger.

A write is one entry of the journal. What it needs besides (payloads, data keys) is put first,
under names that nobody else makes, and means nothing until the entry names it. What follows from it
(tiles, the checkpoint) is put afterwards and can be made again from the entries by anybody, in the
same bytes. So a crash at any point leaves a journal that is whole, and at most objects that
no entry names; who begins next removes them.

An entry whose answer was lost may still come through. So nothing it names is removed before its
number is taken by another entry.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import structlog

from core.errors import Invalid, Unavailable
from ledger.archive import Erasing, NewLeaf, Outrun, Payload, TapeLine
from ledger.journal import (
    Head,
    entry_name,
    read_entry,
    told_leaves,
    told_tapes,
    write_entry,
)
from ledger.journal_view import JournalView, erased_rows
from ledger.notes import Checkpoint
from ledger.object_reader import CHECKPOINT, ObjectReader, check_no_gap
from ledger.object_tiles import ObjectTiles
from ledger.objects import ObjectStore
from ledger.packs import Moved, Pack
from ledger.tiles import LedgerDamaged

_AT_ONCE = 1_000
PAYLOADS = "payloads/"
KEYS = "keys/"


class ObjectArchive(ObjectReader):
    """One archive of objects in the hands of its writer."""

    def __init__(self, store: ObjectStore, view: JournalView) -> None:
        super().__init__(store, view)
        self._writer = secrets.token_hex(16)
        self._tiles = ObjectTiles(store, self)
        #: Objects that were put for an entry that is not in the journal, or not known to be.
        self._loose: set[str] = set()
        self._packed = 0

    def known(self, inbox_ids: Collection[str]) -> set[str]:
        """Give those inbox entries that are there already."""
        return self._view.among("SELECT inbox FROM leaves WHERE inbox IN", inbox_ids)

    def has_payloads(self, payload_ids: Collection[str]) -> set[str]:
        """Give those payloads that are there."""
        return self._view.among("SELECT id FROM payloads WHERE id IN", payload_ids)

    def take_over(self) -> int:
        """Begin a new epoch: whoever wrote before can no more."""
        self._store.tidy()
        self._check_whole()
        head = self._view.head
        while not self._append(head, head.epoch + 1, "epoch", {}):
            self.refresh()
            head = self._view.head
        # Not what the view says by now: others of this host may have followed the journal further.
        epoch = head.epoch + 1
        self._remove(set(self._loose))  # it may have been at work before, and outrun
        self._sweep()
        self.tidy()
        self._publish()
        return epoch

    def erase(self, epoch: int, leaf: NewLeaf, erasing: Erasing) -> int:
        """Append the leaf that tells of it and delete, all or nothing; give how many there were."""
        self._own(epoch)
        if self.known([leaf.inbox_id]):
            raise LedgerDamaged("an entry of the inbox would be in the archive twice")
        before = self._count()
        told, data = told_leaves([leaf])
        body: dict[str, Any] = {"runs": [*erasing.runs], "shared": [*erasing.shared]}
        body["tenants"] = [*erasing.tenants]
        try:
            moved = {one.old: one.told() for one in self._move(epoch, body)}
            self._write(epoch, "erase", {"leaves": told, **body, "moved": moved}, data)
        except Outrun:
            # Who takes over next may already have looked for such objects, further back than these.
            self._remove(set(self._loose))
            raise
        self._loose.clear()
        self._forget()
        return before - self._count()

    def tidy(self) -> None:
        """Delete the objects that the journal says are not needed, if that was broken off."""
        while names := self._view.unneeded()[:_AT_ONCE]:
            self._store.delete(names)
            self._view.gone(names)

    def stage(self, epoch: int, lines: Sequence[TapeLine], payloads: Sequence[Payload]) -> None:
        """Keep parts of tapes whose leaves come later."""
        self._own(epoch)
        tapes, data = told_tapes(lines)
        packs = self._put(payloads)
        self._write(epoch, "stage", {"tapes": tapes, "payloads": packs}, data)

    def discard(self, epoch: int) -> None:
        """Forget what was put for an entry that did not come to be."""
        self._own(epoch)
        if self._loose or self._view.one("SELECT 1 FROM payloads WHERE staged LIMIT 1"):
            self._write(epoch, "discard", {})
            self._remove(set(self._loose))
            self.tidy()

    def commit(
        self,
        epoch: int,
        leaves: Sequence[NewLeaf],
        lines: Sequence[TapeLine] = (),
        payloads: Sequence[Payload] = (),
    ) -> int:
        """Append leaves, all or none; give the new size."""
        self._own(epoch)
        ids = [one.inbox_id for one in leaves]
        if len(set(ids)) < len(ids) or self.known(ids):
            raise LedgerDamaged("an entry of the inbox would be in the archive twice")
        told, data = told_leaves(leaves)
        tapes, text = told_tapes(lines)
        packs = self._put(payloads)
        body = {"leaves": told, "tapes": tapes, "payloads": packs}
        self._write(epoch, "commit", body, data + text)
        self._loose.clear()
        return self.size

    def keep_data_key(self, epoch: int, tenant: str, record: bytes) -> None:
        """Keep a tenant's wrapped data key, and remove the one before."""
        self._own(epoch)
        name = f"{KEYS}{self._view.head.next:018}-{secrets.token_hex(8)}"
        self._store.create_all({name: record})
        self._write(epoch, "key", {"tenant": tenant, "object": name})
        self.tidy()

    def keep_checkpoint(self, epoch: int, size: int, note: str) -> None:
        """Keep a signed checkpoint, after the tiles that it signs."""
        self._own(epoch)
        self._tiles.write(self._signed(), size)
        self._write(epoch, "checkpoint", {"size": size, "note": note})
        self._publish()

    # --- the journal ---------------------------------------------------------------------------

    def _own(self, epoch: int) -> None:
        if self._view.head.epoch != epoch:
            raise Outrun("a later sequencer has taken over this archive")

    def _write(self, epoch: int, kind: str, body: Mapping[str, Any], data: bytes = b"") -> None:
        head = self._view.head
        if head.epoch != epoch:
            raise Outrun("a later sequencer has taken over this archive")
        if not self._append(head, epoch, kind, body, data):
            self.refresh()
            self._own(epoch)
            # An earlier write of our own, whose answer was lost: what this one assumed is over.
            raise Unavailable("an earlier write to the ledger's objects came through late")

    def _append(
        self, head: Head, epoch: int, kind: str, body: Mapping[str, Any], data: bytes = b""
    ) -> bool:
        told = {"epoch": epoch, "writer": self._writer, "kind": kind, **body}
        text = write_entry(head, told, data)
        name = entry_name(head.next)
        # A retry inside the store's client meets its own first try: the same bytes are ours.
        if not self._store.create(name, text) and self._store.get(name) != text:
            return False
        self._view.apply(read_entry(text))
        return True

    def _check_whole(self) -> None:
        """See to it that no end of the journal was cut off before anything is written behind it."""
        self.refresh()
        check_no_gap(self._store, self._view.head.next)
        signed = self._published()
        if signed > self.size:
            raise LedgerDamaged(
                f"the archive has {self.size} leaves, but its object `{CHECKPOINT}` is that of"
                f" {signed}: the end of the journal was cut off"
            )

    # --- what goes with it ---------------------------------------------------------------------

    def _put(self, payloads: Sequence[Payload]) -> list[dict[str, Any]]:
        """Put those payloads that are not there as one object; give what an entry says of it."""
        there = self.has_payloads([one.id for one in payloads])
        wanted = {one.id: one for one in payloads if one.id not in there}
        if not wanted:
            return []
        pack = Pack.of(self._pack_name(), wanted.values())
        self._loose.add(pack.name)
        self._store.create_all({pack.name: pack.data})
        return [pack.told()]

    def _move(self, epoch: int, erasing: Mapping[str, Any]) -> Iterator[Moved]:
        """Put what stays of the objects of which a part is to be erased into new ones."""
        gone: dict[str, set[str]] = {}
        for which, value in erased_rows(erasing):
            query = f"SELECT object, id FROM payloads WHERE {which}"  # noqa: S608
            for name, payload_id in self._view.all(query, value):
                gone.setdefault(name, set()).add(payload_id)
        query = "SELECT id, at, length FROM payloads WHERE object = ? ORDER BY at"
        for name, ids in gone.items():
            rows = self._view.all(query, name)
            kept = [(at, length) for payload_id, at, length in rows if payload_id not in ids]
            if not kept:
                continue
            data = self._store.get(name)
            if data is None:
                self.refresh()
                self._own(epoch)  # if not, somebody else has erased a part of it
                raise LedgerDamaged(f"the object {name} is gone, which had payloads of others too")
            moved = Moved.of(name, self._pack_name(), data, kept)
            self._loose.add(moved.name)
            self._store.create_all({moved.name: moved.data})
            yield moved

    def _pack_name(self) -> str:
        # The number alone may come again, when the first try of an entry failed.
        self._packed += 1
        return f"{PAYLOADS}{self._view.head.next:018}-{self._writer[:16]}-{self._packed}"

    def _remove(self, names: Collection[str]) -> None:
        if not names:
            return
        kept = self._view.among("SELECT object FROM payloads WHERE object IN", names)
        kept |= self._view.among("SELECT object FROM data_keys WHERE object IN", names)
        self._store.delete([name for name in names if name not in kept])
        self._loose -= set(names)

    def _sweep(self) -> None:
        """Remove what earlier writers put for entries that did not come to be."""
        swept = self._view.one("SELECT swept FROM state")[0]
        # Of keys there are few, and one that was replaced must not outlive a crash.
        for prefix, after in ((PAYLOADS, f"{PAYLOADS}{swept:018}"), (KEYS, "")):
            batch: list[str] = []
            for name in self._store.names(prefix, after):
                batch.append(name)
                if len(batch) == _AT_ONCE:
                    self._remove(batch)
                    batch = []
            self._remove(batch)

    def _forget(self) -> None:
        """Let no bytes of what was erased stay in memory, and none in the store."""
        self._parts.clear()
        self._keys.clear()
        self.tidy()

    def _count(self) -> int:
        return int(self._view.one("SELECT count(*) FROM payloads")[0])

    def _signed(self) -> int:
        row = self._view.one("SELECT max(size) FROM checkpoints")
        return int(row[0] or 0)

    def _published(self) -> int:
        found = self._store.get(CHECKPOINT)
        if found is None:
            return 0
        try:
            return Checkpoint.parse(
                found.decode("utf-8", "replace").partition("\n\n")[0] + "\n"
            ).size
        except Invalid as error:
            raise LedgerDamaged(f"the object `{CHECKPOINT}` is none: {error.detail}") from None

    def _publish(self) -> None:
        """Put the newest checkpoint of the journal in the place of an older one."""
        note = self.checkpoint()
        if note is None:
            return
        found = self._store.tagged(CHECKPOINT)
        if found is not None and (found[0] == note.encode() or self._published() > self._signed()):
            return
        tag = None if found is None else found[1]
        if self._store.replace(CHECKPOINT, note.encode(), tag) is None:
            structlog.get_logger(__name__).warning("checkpoint_outrun")
