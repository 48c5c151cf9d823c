"""
An archive of objects, as an auditor reads it.

Runs in: CLI. Trusts: nothing in the objects. Refuses: a journal with a gap, or with an entry that
cannot be read. May import: stdlib, core, ledger.

The journal is read once, from its first entry on, into tables of the kind that the archive in
SQLite has, in a file that goes when the audit is over. Payloads stay where they are and are read
when their turn comes. What stands beside the journal is held to it: tiles, bundles of leaves, the
checkpoint.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from core.errors import Invalid
from ledger.archive import Payload
from ledger.audit_source import SqliteSource
from ledger.journal import Entry, follow
from ledger.journal_view import JournalView
from ledger.merkle import HASH_BYTES
from ledger.notes import Checkpoint
from ledger.object_reader import CHECKPOINT, entries
from ledger.objects import ObjectStore
from ledger.sqlite_archive import SCHEMA
from ledger.tile_files import tile_path
from ledger.tiles import HEIGHT, WIDTH, LedgerDamaged

_PACKS = 8
_LENGTH_BYTES = 2
_TILES = "tile/"
_PART = re.compile(r"tile/([0-9]+|entries)/((?:x[0-9]{3}/)*[0-9]{3})\.p/([0-9]+)")


class ObjectSource(SqliteSource):
    """An archive of objects: the log, the tapes and the payloads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._wrong: list[str] = []
        self._missing = 0
        #: Packs that were read last, what the journal says of each, and which were changed.
        self._packs: OrderedDict[str, bytes | None] = OrderedDict()
        self._unseen: dict[str, str] = {}
        self._changed: list[str] = []
        self._directory = tempfile.TemporaryDirectory(prefix="moonsand-audit-")
        try:
            view = Path(self._directory.name) / "view.db"
            self._view = JournalView(view)
            self._db = sqlite3.connect(Path(self._directory.name) / "log.db", isolation_level=None)
            self._db.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {SCHEMA}")
            self._db.execute("ATTACH ? AS seen", (str(view),))
            for entry in entries(store, 0):
                self._take(entry)
            self._settle()
        except BaseException:
            self._directory.cleanup()
            raise
        row = self._db.execute("SELECT max(size) FROM seen.checkpoints").fetchone()
        self._signed = min(int(row[0] or 0), self._view.size)

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile: its object as far as a checkpoint covers it, and what came after."""
        made = super().tile(level, number)
        width = min(WIDTH, (self._signed >> HEIGHT * level) - number * WIDTH)
        if width <= 0:
            return made
        found = self._stored(str(level), number, width)
        if width == WIDTH:
            return found
        return found[: width * HASH_BYTES] + made[width * HASH_BYTES :]

    def payloads_of(self, run: str) -> dict[str, Payload]:
        """Give the payloads of a run that are there."""
        return {one.id: one for one in self._payloads("run = ?", run)}

    def shared(self) -> Iterator[Payload]:
        """Give the payloads that belong to no single run."""
        yield from self._payloads("run = ''")

    def payload(self, payload_id: str) -> Payload | None:
        """Give one payload, None when it is not there."""
        return next(self._payloads("id = ?", payload_id), None)

    def count(self, table: str) -> int:
        """Count the lines, or the payloads that are not known to be gone."""
        return super().count(table) - (self._missing if table == "payloads" else 0)

    def damage(self) -> str | None:
        """Give what is wrong with the objects as such."""
        wrong = next(self._damages(), None)
        return None if wrong is None else wrong

    def changed(self) -> Iterator[str]:
        """Tell of packs that are not those that were put, as far as the journal says."""
        for name in [*self._unseen]:
            self._pack(name)
        yield from self._changed

    def close(self) -> None:
        """Close and remove the tables."""
        super().close()
        self._view.close()
        self._directory.cleanup()

    # --- reading the journal -------------------------------------------------------------------

    def _take(self, entry: Entry) -> None:
        try:
            follow(self._view.head, entry)
        except LedgerDamaged as error:
            self._wrong.append(error.detail)  # told, and read on: the tiles tell which leaf it is
        size = self._view.size
        self._view.apply(entry, trusting=True)
        at = 0
        for index, (inbox, length) in enumerate(entry.body.get("leaves", []), size):
            data = entry.data[at : at + length]
            query = """INSERT INTO leaves SELECT idx, ?, ?, kind, subject, tenant, at_ms
                FROM seen.leaves WHERE idx = ?"""
            self._db.execute(query, (data, inbox, index))
            at += length
        for tape, spans in entry.body.get("tapes", []):
            for seq, length in spans:
                row = (tape, seq, entry.data[at : at + length])
                self._db.execute("INSERT OR IGNORE INTO tape_entries VALUES (?, ?, ?)", row)
                at += length

    def _settle(self) -> None:
        """Leave out what was staged and given up; say of payloads what the journal says."""
        for query in (
            "DELETE FROM tape_entries WHERE tape NOT IN (SELECT tape FROM seen.tapes)",
            "INSERT INTO tiles SELECT level, idx, data FROM seen.tiles",
            "INSERT INTO checkpoints SELECT size, note FROM seen.checkpoints",
            "INSERT INTO staged SELECT id FROM seen.payloads WHERE staged",
            "INSERT INTO payloads SELECT id, tenant, run, at_ms, key, x'' FROM seen.payloads",
        ):
            self._db.execute(query)
        self._unseen = dict(self._db.execute("SELECT object, sha256 FROM seen.packs").fetchall())
        keys = self._db.execute("SELECT tenant, object FROM seen.data_keys").fetchall()
        for tenant, name in keys:
            record = self._store.get(name)
            if record is None:
                self._wrong.append(f"the data key of {tenant} is gone")
            else:
                self._db.execute("INSERT INTO data_keys VALUES (?, ?)", (tenant, record))

    def _payloads(self, which: str, *values: str) -> Iterator[Payload]:
        query = f"SELECT id, tenant, run, at_ms, key, object, at, length FROM seen.payloads WHERE {which}"  # noqa: E501, S608
        rows = self._db.execute(f"{query} ORDER BY object, at", values).fetchall()
        for payload_id, tenant, run, at_ms, key, name, at, length in rows:
            data = self._pack(name)
            if data is None:
                self._missing += 1
            else:
                yield Payload(payload_id, tenant, run, at_ms, key, data[at : at + length])

    def _pack(self, name: str) -> bytes | None:
        # Runs come in the order in which they were taken, and those of a batch share a pack.
        if name in self._packs:
            return self._packs[name]
        data = self._packs[name] = self._store.get(name)
        if len(self._packs) > _PACKS:
            self._packs.popitem(last=False)
        told = self._unseen.pop(name, None)
        if data is not None and told is not None and hashlib.sha256(data).hexdigest() != told:
            self._changed.append(f"the object {name} was changed")
        elif data is None and told is not None:
            self._changed.append(f"the object {name} is gone")
        return data

    # --- what stands beside it -----------------------------------------------------------------

    def _stored(self, level: str, number: int, width: int) -> bytes:
        for name in {tile_path(level, number, width): 0, tile_path(level, number): 0}:
            found = self._store.get(name)
            if found is not None:
                return found
        return b""

    def _damages(self) -> Iterator[str]:
        yield from self._wrong
        yield from self._check_checkpoint()
        for number in range(-(-self._signed // WIDTH)):
            width = min(WIDTH, self._signed - number * WIDTH)
            stored = self._stored("entries", number, width)
            index, query = number * WIDTH, "SELECT data FROM leaves WHERE idx >= ? LIMIT ?"
            for (data,) in self._db.execute(query, (index, width)):
                told = len(data).to_bytes(_LENGTH_BYTES, "big") + data
                if not stored.startswith(told):
                    name = tile_path("entries", number)
                    yield f"{name} does not hold entry {index} as the journal has it"
                    break
                stored, index = stored[len(told) :], index + 1
            else:
                if stored and width == WIDTH:
                    yield f"{tile_path('entries', number)} holds more than its entries"

        yield from self._check_parts()

    def _check_parts(self) -> Iterator[str]:
        """Hold parts of tiles to the journal, those of earlier checkpoints too."""
        for name in self._store.names(_TILES):
            part = _PART.fullmatch(name)
            if part is None:
                continue
            number, width = int(part[2].replace("x", "").replace("/", "")), int(part[3])
            if part[1] == "entries":
                query = "SELECT data FROM leaves WHERE idx >= ? ORDER BY idx LIMIT ?"
                rows = self._db.execute(query, (number * WIDTH, width)).fetchall()
                meant = b"".join(len(one).to_bytes(_LENGTH_BYTES, "big") + one for (one,) in rows)
            else:
                meant = super().tile(int(part[1]), number)[: width * HASH_BYTES]
            if self._store.get(name) != meant:
                yield f"{name} does not hold what the journal has"

    def _check_checkpoint(self) -> Iterator[str]:
        found = self._store.get(CHECKPOINT)
        if found is None:
            if self._signed:
                yield f"the object `{CHECKPOINT}` is gone"
            return
        note = found.decode("utf-8", "replace")
        known = {one for _, one in self.checkpoints()}
        if note in known:
            return
        try:
            size = Checkpoint.parse(note.partition("\n\n")[0] + "\n").size
        except Invalid:
            yield f"the object `{CHECKPOINT}` is no checkpoint"
        else:
            yield f"the object `{CHECKPOINT}`, of {size} entries, is none of the journal's"
