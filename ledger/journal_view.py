"""
What the journal says, as tables: a file of this host that can be thrown away at any time.

Runs in: sequencer, api, CLI. Trusts: nothing but the journal it is made of. Refuses: an entry that
does not go on from the last. May import: stdlib, orjson, core, ledger.

It holds where things are (leaves, lines, payloads), not the things; of the tree it holds the
tiles, made of the leaves as they were read. A file may have several users: each entry is applied
in one transaction, by whoever comes first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from core.errors import Unavailable
from ledger.journal import START, Entry, Head, follow
from ledger.leaves import read_leaf
from ledger.merkle import leaf_hash
from ledger.packs import SALT_BYTES, placed
from ledger.sqlite_writes import all_or_none, make_file
from ledger.tiles import Edge, LedgerDamaged

_WAIT_S = 10.0
_PAGE = 500
_LAYOUT = 2
_TEXTS = ("kind", "id", "tenant")
_SCHEMA = """
CREATE TABLE state (
    next INTEGER, epoch INTEGER, digest TEXT, size INTEGER, began INTEGER, swept INTEGER) STRICT;
CREATE TABLE leaves (
    idx INTEGER PRIMARY KEY, entry INTEGER, at INTEGER, length INTEGER, inbox TEXT NOT NULL UNIQUE,
    kind TEXT, subject TEXT, tenant TEXT, at_ms INTEGER) STRICT;
CREATE INDEX leaves_subject ON leaves (subject);
CREATE INDEX leaves_kind ON leaves (kind);
CREATE TABLE tiles (
    level INTEGER, idx INTEGER, data BLOB, PRIMARY KEY (level, idx)) STRICT, WITHOUT ROWID;
CREATE TABLE tapes (
    tape TEXT, entry INTEGER, at INTEGER, spans TEXT, staged INTEGER,
    PRIMARY KEY (tape, entry)) STRICT, WITHOUT ROWID;
CREATE TABLE payloads (
    id TEXT PRIMARY KEY, tenant TEXT, run TEXT, at_ms INTEGER, key TEXT,
    object TEXT, at INTEGER, length INTEGER, staged INTEGER) STRICT;
CREATE INDEX payloads_run ON payloads (run);
CREATE INDEX payloads_object ON payloads (object);
CREATE INDEX payloads_staged ON payloads (staged) WHERE staged;
CREATE TABLE packs (object TEXT PRIMARY KEY, sha256 TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE data_keys (tenant TEXT PRIMARY KEY, object TEXT) STRICT;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT) STRICT;
CREATE TABLE unneeded (object TEXT PRIMARY KEY) STRICT;
"""


class JournalView:
    """One view. `path` None: in memory, gone with it."""

    def __init__(self, path: Path | None = None) -> None:
        if path is not None and not path.exists():
            make_file(path, _fill)
        self._db = sqlite3.connect(
            path or ":memory:", timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        if path is None:
            _fill(self._db)
        self._db.execute("PRAGMA synchronous=NORMAL")

    # --- reading -------------------------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """Tell whether its tables are those of this version."""
        return bool(self.one("PRAGMA user_version")[0] == _LAYOUT)

    @property
    def head(self) -> Head:
        """Give where the journal stands, as far as it was read."""
        return Head(*self.one("SELECT next, epoch, digest FROM state"))

    @property
    def size(self) -> int:
        """Count the leaves."""
        return int(self.one("SELECT size FROM state")[0])

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile, empty when there is none."""
        row = self.one("SELECT data FROM tiles WHERE level = ? AND idx = ?", level, number)
        return row[0] if row else b""

    def one(self, query: str, *values: Any) -> Any:
        """Give the first row."""
        with _readable():
            return self._db.execute(query, values).fetchone()

    def all(self, query: str, *values: Any) -> list[Any]:
        """Give all rows."""
        with _readable():
            return self._db.execute(query, values).fetchall()

    def among(self, query: str, wanted: Collection[str]) -> set[str]:
        """Give those of `wanted` that `query`, which ends in `IN`, finds."""
        found: set[str] = set()
        asked = list(wanted)
        for at in range(0, len(asked), _PAGE):
            part = asked[at : at + _PAGE]
            marks = ", ".join("?" * len(part))
            found |= {one for (one,) in self.all(f"{query} ({marks})", *part)}
        return found

    def close(self) -> None:
        """Close it."""
        self._db.close()

    # --- following the journal -----------------------------------------------------------------

    def apply(self, entry: Entry, *, trusting: bool = False) -> None:
        """
        Take the next entry.

        An entry that was taken already is passed over. `trusting` passes over what ties it to the
        entry before, for an auditor who has told of it and reads on.

        Raises:
            LedgerDamaged: it does not go on from the last one.
        """
        with self._transaction():
            head = self.head
            if entry.number < head.next and not trusting:
                return
            after = follow(head, entry) if not trusting else _trusted(head, entry)
            try:
                self._take(entry)
            except (KeyError, TypeError, ValueError, sqlite3.IntegrityError) as error:
                what = f"entry {entry.number} of the journal cannot be taken"
                raise LedgerDamaged(f"{what}: {error}") from None
            query = "UPDATE state SET next = ?, epoch = ?, digest = ?"
            self._db.execute(query, (after.next, after.epoch, after.digest))

    def unneeded(self) -> list[str]:
        """Give objects that no entry needs any more, and that were not told to be gone."""
        return [name for (name,) in self.all("SELECT object FROM unneeded")]

    def gone(self, names: Sequence[str]) -> None:
        """Take note that objects were deleted."""
        with self._transaction():
            rows = [(name,) for name in names]
            self._db.executemany("DELETE FROM unneeded WHERE object = ?", rows)

    def _take(self, entry: Entry) -> None:
        body = entry.body
        match entry.kind:
            case "epoch":
                # What came before the epoch before was swept by its sequencer.
                self._db.execute("UPDATE state SET swept = began, began = ?", (entry.number,))
                self._drop_staged()
            case "discard":
                self._drop_staged()
            case "stage":
                self._keep(entry, 0, staged=True)
            case "commit":
                self._keep(entry, self._append(entry), staged=False)
                self._db.execute("UPDATE tapes SET staged = 0 WHERE staged")
                self._db.execute("UPDATE payloads SET staged = 0 WHERE staged")
            case "key":
                self._drop_key(body["tenant"])
                row = (body["tenant"], body["object"])
                self._db.execute("INSERT INTO data_keys VALUES (?, ?)", row)
            case "erase":
                self._append(entry)
                self._erase(body)
            case "checkpoint":
                row = (body["size"], body["note"])
                self._db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", row)
            case other:
                raise ValueError(f"its kind {other!r} is not known")

    def _append(self, entry: Entry) -> int:
        """Append the leaves of a commit; give where its lines begin."""
        size = self.size
        rows, hashes, at = [], [], 0
        for index, (inbox, length) in enumerate(entry.body["leaves"], size):
            data = entry.data[at : at + length]
            if len(data) != length:
                raise ValueError("it is cut off")
            rows.append((index, entry.number, entry.start + at, length, inbox, *_columns(data)))
            hashes.append(leaf_hash(data))
            at += length
        edge = Edge(size, self.tile)
        changed = [(*where, data) for where, data in edge.append(hashes).items()]
        self._db.executemany("INSERT INTO leaves VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._db.executemany("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?)", changed)
        self._db.execute("UPDATE state SET size = ?", (edge.size,))
        return at

    def _keep(self, entry: Entry, at: int, *, staged: bool) -> None:
        tapes = []
        for tape, spans in entry.body["tapes"]:
            place = (entry.number, entry.start + at)
            tapes.append((tape, *place, orjson.dumps(spans).decode(), staged))
            at += sum(length for _, length in spans)
        self._db.executemany("INSERT INTO tapes VALUES (?, ?, ?, ?, ?)", tapes)
        if at != len(entry.data):
            raise ValueError("it has other bytes than it tells of")
        for told in entry.body["payloads"]:
            name = told["object"]
            rows = [(*one[:5], name, one.at, one.length, staged) for one in placed(told)]
            query = "INSERT OR REPLACE INTO payloads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            self._db.executemany(query, rows)
            if "sha256" in told:
                self._db.execute("INSERT INTO packs VALUES (?, ?)", (name, told["sha256"]))

    def _erase(self, body: Mapping[str, Any]) -> None:
        moved, touched = body.get("moved", {}), set[str]()
        for which, value in erased_rows(body):
            query = f"DELETE FROM payloads WHERE {which} RETURNING object"  # noqa: S608
            touched |= {name for (name,) in self._db.execute(query, (value,)).fetchall()}
        for tenant in body["tenants"]:
            self._drop_key(tenant)
        if not moved.keys() <= touched:
            raise ValueError("it moves what it does not erase from")
        for name in sorted(touched):
            self._leave(name, moved.get(name))

    def _leave(self, name: str, to: Mapping[str, str] | None) -> None:
        """Give up an object; what it has besides is in another by now, in the same order."""
        query = "SELECT id, length FROM payloads WHERE object = ? ORDER BY at"
        rows, at = [], SALT_BYTES
        for payload_id, length in self._db.execute(query, (name,)).fetchall():
            if to is None:
                raise ValueError(f"it erases a part of {name} and does not say where the rest is")
            rows.append((to["object"], at, payload_id))
            at += length
        self._db.executemany("UPDATE payloads SET object = ?, at = ? WHERE id = ?", rows)
        self._db.execute("DELETE FROM packs WHERE object = ?", (name,))
        self._db.execute("INSERT OR IGNORE INTO unneeded VALUES (?)", (name,))
        if to is not None:
            self._db.execute("INSERT INTO packs VALUES (?, ?)", (to["object"], to["sha256"]))

    def _drop_staged(self) -> None:
        # What was staged together stands in one object, and goes together.
        query = "DELETE FROM payloads WHERE staged RETURNING object"
        names = {(name,) for (name,) in self._db.execute(query).fetchall()}
        self._db.executemany("INSERT OR IGNORE INTO unneeded VALUES (?)", names)
        self._db.executemany("DELETE FROM packs WHERE object = ?", names)
        self._db.execute("DELETE FROM tapes WHERE staged")

    def _drop_key(self, tenant: str) -> None:
        query = "INSERT OR IGNORE INTO unneeded SELECT object FROM data_keys WHERE tenant = ?"
        self._db.execute(query, (tenant,))
        self._db.execute("DELETE FROM data_keys WHERE tenant = ?", (tenant,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _readable(), all_or_none(self._db):
            yield


def erased_rows(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give conditions on rows of `payloads`, each with its value: together all that is erased."""
    for name, which in (("runs", "run = ?"), ("shared", "id = ?"), ("tenants", "tenant = ?")):
        yield from ((which, value) for value in body[name])


def _trusted(head: Head, entry: Entry) -> Head:
    return Head(head.next + 1, entry.epoch, entry.digest)


def _columns(data: bytes) -> Sequence[Any]:
    fields = read_leaf(data)
    texts = [value if isinstance(value := fields.get(name), str) else None for name in _TEXTS]
    at_ms = fields.get("at_ms")
    whole = at_ms if isinstance(at_ms, int) and abs(at_ms) < 1 << 63 else None
    return (*texts, whole)


def _fill(db: sqlite3.Connection) -> None:
    db.executescript(f"{_SCHEMA} PRAGMA user_version = {_LAYOUT};")
    db.execute("INSERT INTO state VALUES (0, 0, ?, 0, 0, 0)", (START,))


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        hint = "it can be deleted: it is made anew from the journal"
        raise Unavailable(f"this host's view of the ledger fails: {error}", hint=hint) from error
