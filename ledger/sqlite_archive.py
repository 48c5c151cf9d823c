"""
The archive in one SQLite file.

Runs in: sequencer; api and CLI read only. Trusts: the disk. Refuses: a writer whose epoch is over;
an inbox entry twice; a file of another format. May import: stdlib, core, ledger.

A write is one transaction, on the disk when it returns (`synchronous=FULL` in WAL mode). The
columns beside `data` are copied out of it for searching and prove nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from core.errors import Unavailable
from ledger.archive import Erasing, Found, NewLeaf, Outrun, Payload, TapeLine
from ledger.leaves import read_leaf
from ledger.merkle import leaf_hash
from ledger.sqlite_writes import all_or_none, make_file
from ledger.tiles import Edge, LedgerDamaged

NAME = "archive.db"
FORMAT = 1
_WAIT_S = 10.0
_PAGE = 1_000
_TEXTS = ("kind", "id", "tenant")
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE leaves (
    idx INTEGER PRIMARY KEY, data BLOB NOT NULL, inbox TEXT NOT NULL UNIQUE,
    kind TEXT, subject TEXT, tenant TEXT, at_ms INTEGER) STRICT;
CREATE INDEX leaves_subject ON leaves (subject);
CREATE TABLE tiles (
    level INTEGER, idx INTEGER, data BLOB NOT NULL, PRIMARY KEY (level, idx)) STRICT, WITHOUT ROWID;
CREATE TABLE tape_entries (
    tape TEXT, seq INTEGER, data BLOB NOT NULL, PRIMARY KEY (tape, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE payloads (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, run TEXT NOT NULL, at_ms INTEGER NOT NULL,
    key TEXT NOT NULL, data BLOB NOT NULL) STRICT;
CREATE INDEX payloads_run ON payloads (run);
CREATE TABLE data_keys (tenant TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TABLE staged (id TEXT PRIMARY KEY) STRICT;
"""


class SqliteArchive:
    """One archive, open for its one writer or for a reader. One thread at a time."""

    def __init__(self, path: Path, *, write: bool) -> None:
        mode = "rw" if write else "ro"
        self._staged = False
        self._db = self._connect(f"{path.absolute().as_uri()}?mode={mode}")
        try:
            found = self._meta("format")
        except sqlite3.Error as error:
            self._db.close()
            raise Unavailable(f"the ledger's archive cannot be read: {error}") from error
        if found != FORMAT:
            self._db.close()
            raise Unavailable(f"the ledger's archive has format {found}, not {FORMAT}")
        if write:
            # What is deleted is overwritten: a payload must not live on in a free page.
            self._db.executescript("PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;")

    @staticmethod
    def _connect(uri: str) -> sqlite3.Connection:
        try:
            return sqlite3.connect(
                uri, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise Unavailable(f"the ledger's archive cannot be opened: {error}") from error

    @classmethod
    def create(cls, path: Path) -> Self:
        """
        Open the archive for writing, made first if there is none.

        Raises:
            Unavailable: it cannot be made or opened.
        """
        if not path.exists():
            try:
                make_file(path, _fill)
            except (OSError, sqlite3.Error) as error:
                raise Unavailable(f"the ledger's archive cannot be made: {error}") from error
        return cls(path, write=True)

    # --- reading -------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Count the leaves."""
        (last,) = self._one("SELECT max(idx) FROM leaves")
        return 0 if last is None else int(last) + 1

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile, empty when there is none."""
        row = self._one("SELECT data FROM tiles WHERE level = ? AND idx = ?", level, number)
        return row[0] if row else b""

    def leaves(self, start: int = 0) -> Iterator[Found]:
        """Give all leaves from `start` on, in order; those appended meanwhile too."""
        query = "SELECT idx, data FROM leaves WHERE idx >= ? ORDER BY idx LIMIT ?"
        while rows := self._all(query, start, _PAGE):
            yield from (Found(*row) for row in rows)
            start = rows[-1][0] + 1

    def find(self, subject: str) -> list[Found]:
        """Give the leaves about one subject, in order."""
        query = "SELECT idx, data FROM leaves WHERE subject = ? ORDER BY idx"
        return [Found(*row) for row in self._all(query, subject)]

    def tape(self, tape: str) -> list[bytes]:
        """Give the lines of a tape, in order."""
        query = "SELECT data FROM tape_entries WHERE tape = ? ORDER BY seq"
        return [data for (data,) in self._all(query, tape)]

    def payload(self, payload_id: str) -> Payload | None:
        """Give a payload, None when it is not there."""
        query = "SELECT id, tenant, run, at_ms, key, data FROM payloads WHERE id = ?"
        row = self._one(query, payload_id)
        return Payload(*row) if row else None

    def data_keys(self) -> dict[str, bytes]:
        """Give the wrapped data key of every tenant that has one."""
        return dict(self._all("SELECT tenant, record FROM data_keys"))

    def checkpoint(self) -> str | None:
        """Give the newest checkpoint."""
        row = self._one("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return row[0] if row else None

    def known(self, inbox_ids: Collection[str]) -> set[str]:
        """Give those inbox entries that are there already."""
        return self._among("SELECT inbox FROM leaves WHERE inbox IN", inbox_ids)

    def has_payloads(self, payload_ids: Collection[str]) -> set[str]:
        """Give those payloads that are there."""
        return self._among("SELECT id FROM payloads WHERE id IN", payload_ids)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # --- writing -------------------------------------------------------------------------------

    def take_over(self) -> int:
        """Begin a new epoch: whoever wrote before can no more."""
        with self._transaction():
            self._discard()
            self._db.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
            return self._meta("epoch")

    def stage(self, epoch: int, lines: Sequence[TapeLine], payloads: Sequence[Payload]) -> None:
        """Keep parts of tapes whose leaves come later."""
        with self._transaction(epoch):
            ids = [(payload.id,) for payload in payloads if not self._has(payload.id)]
            self._keep(lines, payloads)
            self._db.executemany("INSERT INTO staged VALUES (?)", ids)
            self._staged = True

    def discard(self, epoch: int) -> None:
        """Forget what was staged by a batch that was not committed."""
        if self._staged:
            with self._transaction(epoch):
                self._discard()

    def commit(
        self,
        epoch: int,
        leaves: Sequence[NewLeaf],
        lines: Sequence[TapeLine] = (),
        payloads: Sequence[Payload] = (),
    ) -> int:
        """Append leaves, all or none; give the new size."""
        with self._transaction(epoch):
            size = self._append(leaves)
            self._keep(lines, payloads)
            self._db.execute("DELETE FROM staged")
            self._staged = False
        return size

    def erase(self, epoch: int, leaf: NewLeaf, erasing: Erasing) -> int:
        """Append the leaf that tells of it and delete, all or nothing; give how many there were."""
        with self._transaction(epoch):
            self._append([leaf])
            before = self._db.total_changes
            delete = "DELETE FROM payloads WHERE"
            self._db.executemany(f"{delete} run = ?", [(one,) for one in erasing.runs])
            self._db.executemany(f"{delete} id = ?", [(one,) for one in erasing.shared])
            tenants = [(one,) for one in erasing.tenants]
            self._db.executemany(f"{delete} tenant = ?", tenants)
            deleted = self._db.total_changes - before
            self._db.executemany("DELETE FROM data_keys WHERE tenant = ?", tenants)
        return deleted

    def tidy(self) -> None:
        """Empty the log beside the file: pages as they were before a deletion stand in it."""
        (busy, *_) = self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise Unavailable(
                "the payloads are deleted, but the file's write-ahead log could not be emptied",
                hint="somebody reads the archive; erase again",
            )

    def keep_data_key(self, epoch: int, tenant: str, record: bytes) -> None:
        """Keep a tenant's wrapped data key."""
        with self._transaction(epoch):
            self._db.execute("INSERT OR REPLACE INTO data_keys VALUES (?, ?)", (tenant, record))

    def keep_checkpoint(self, epoch: int, size: int, note: str) -> None:
        """Keep a signed checkpoint."""
        with self._transaction(epoch):
            self._db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (size, note))

    # --- parts ---------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, epoch: int | None = None) -> Iterator[None]:
        try:
            with all_or_none(self._db):
                self._check(epoch)
                yield
        except sqlite3.OperationalError as error:  # locked, full, read-only: all may pass
            raise Unavailable(f"the ledger's archive takes no writes: {error}") from error
        except sqlite3.DatabaseError as error:
            raise LedgerDamaged(f"the ledger's archive is damaged: {error}") from error

    def _check(self, epoch: int | None) -> None:
        if epoch is not None and self._meta("epoch") != epoch:
            raise Outrun("a later sequencer has taken over this archive")

    def _append(self, leaves: Sequence[NewLeaf]) -> int:
        start = self.size
        edge = Edge(start, self.tile)
        changed = edge.append([leaf_hash(leaf.data) for leaf in leaves])
        rows = [_leaf_row(start + at, leaf) for at, leaf in enumerate(leaves)]
        self._db.executemany("INSERT INTO leaves VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        tiles = [(level, number, data) for (level, number), data in changed.items()]
        self._db.executemany("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?)", tiles)
        return edge.size

    def _discard(self) -> None:
        for (name,) in self._all("SELECT id FROM staged WHERE id LIKE 'tape/%'"):
            _, tape, seq = name.split("/")
            self._db.execute(
                "DELETE FROM tape_entries WHERE tape = ? AND seq = ?", (tape, int(seq))
            )
        self._db.execute("DELETE FROM payloads WHERE id IN (SELECT id FROM staged)")
        self._db.execute("DELETE FROM staged")
        self._staged = False

    def _has(self, payload_id: str) -> bool:
        return self._one("SELECT 1 FROM payloads WHERE id = ?", payload_id) is not None

    def _keep(self, lines: Sequence[TapeLine], payloads: Sequence[Payload]) -> None:
        rows = [(line.tape, line.seq, line.data) for line in lines]
        self._db.executemany("INSERT INTO tape_entries VALUES (?, ?, ?)", rows)
        kept = [(p.id, p.tenant, p.run, p.at_ms, p.key_id, p.data) for p in payloads]
        self._db.executemany("INSERT OR IGNORE INTO payloads VALUES (?, ?, ?, ?, ?, ?)", kept)

    def _meta(self, name: str) -> int:
        row = self._one("SELECT value FROM meta WHERE name = ?", name)
        return int(row[0]) if row else 0

    def _one(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()

    def _all(self, query: str, *values: Any) -> list[Any]:
        return self._db.execute(query, values).fetchall()

    def _among(self, query: str, wanted: Collection[str]) -> set[str]:
        found: set[str] = set()
        asked = list(wanted)
        for at in range(0, len(asked), _PAGE):
            part = asked[at : at + _PAGE]
            marks = ", ".join("?" * len(part))
            found |= {one for (one,) in self._all(f"{query} ({marks})", *part)}
        return found


def _fill(database: sqlite3.Connection) -> None:
    database.executescript(SCHEMA)
    database.execute("INSERT INTO meta VALUES ('format', ?), ('epoch', 0)", (FORMAT,))


def _leaf_row(index: int, leaf: NewLeaf) -> tuple[Any, ...]:
    fields = read_leaf(leaf.data)
    texts = [value if isinstance(value := fields.get(name), str) else None for name in _TEXTS]
    at_ms = fields.get("at_ms")
    whole = at_ms if isinstance(at_ms, int) and abs(at_ms) < 1 << 63 else None
    return (index, leaf.data, leaf.inbox_id, *texts, whole)
