"""
An archive as an auditor reads it: row by row, with what the columns say beside the bytes.

Runs in: CLI. Trusts: nothing in the file. Refuses: a file whose tables are not those of an archive,
or that has triggers or views. May import: stdlib, core, ledger.

Everything is read in one transaction, so that a sequencer at work changes nothing meanwhile, and
the file is opened for reading only. An archive on a medium that takes no writes can be read too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from core.errors import Invalid, Unavailable
from ledger.archive import Payload
from ledger.sqlite_archive import FORMAT, NAME, SCHEMA
from ledger.tile_directory import TileDirectory
from ledger.tiles import LedgerDamaged

#: What a damaged file may make of reading it; its errors may quote bytes that are no UTF-8.
DAMAGE = (sqlite3.Error, UnicodeDecodeError)
_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class LeafRow:
    """A leaf, and what the columns beside it say: kind, subject, tenant, at_ms."""

    index: int
    data: bytes
    columns: tuple[Any, ...] | None


class LogSource(Protocol):
    """What every kind of archive has: leaves, tiles, checkpoints."""

    def rows(self) -> Iterator[LeafRow]:
        """Give all leaves in order."""
        ...

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile, empty when there is none."""
        ...

    def tile_ids(self) -> Iterator[tuple[int, int]]:
        """Give level and number of every tile that is there."""
        ...

    def checkpoints(self) -> list[tuple[int, str]]:
        """Give every checkpoint with the size it is kept under."""
        ...

    def damage(self) -> str | None:
        """Give what is wrong with the file or files as such."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class SqliteSource:
    """An archive in SQLite: the log, the tapes and the payloads."""

    def __init__(self, path: Path) -> None:
        self._db = _open(path)
        try:
            self._check_schema()
            self._db.execute("BEGIN")
            found = dict(self._db.execute("SELECT name, value FROM meta"))
        except DAMAGE as error:
            self._db.close()
            raise LedgerDamaged(f"the archive is damaged: {error}") from error
        except LedgerDamaged:
            self._db.close()
            raise
        if set(found) != {"format", "epoch"} or found["format"] != FORMAT:
            self._db.close()
            raise LedgerDamaged(f"the archive's format is not {FORMAT}, the one that this reads")

    def _check_schema(self) -> None:
        with sqlite3.connect(":memory:") as pattern:
            pattern.executescript(SCHEMA)
            query = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
            wanted = pattern.execute(query).fetchall()
        found = self._db.execute(query).fetchall()
        if found != wanted:
            odd = sorted({row[1] for row in set(found) ^ set(wanted)})
            raise LedgerDamaged(f"the archive's tables are not those of a ledger: {', '.join(odd)}")

    def rows(self) -> Iterator[LeafRow]:
        """Give all leaves in order."""
        query = "SELECT idx, data, kind, subject, tenant, at_ms FROM leaves ORDER BY idx"
        for index, data, *columns in self._db.execute(query):
            yield LeafRow(index, data, tuple(columns))

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile, empty when there is none."""
        query = "SELECT data FROM tiles WHERE level = ? AND idx = ?"
        row = self._db.execute(query, (level, number)).fetchone()
        return bytes(row[0]) if row else b""

    def tile_ids(self) -> Iterator[tuple[int, int]]:
        """Give level and number of every tile that is there."""
        yield from self._db.execute("SELECT level, idx FROM tiles")

    def checkpoints(self) -> list[tuple[int, str]]:
        """Give every checkpoint with the size it is kept under."""
        return self._db.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()

    def of_kind(self, kind: str) -> Iterator[tuple[int, bytes]]:
        """Give index and bytes of the leaves whose column says `kind`."""
        query = "SELECT idx, data FROM leaves WHERE kind = ? ORDER BY idx"
        yield from self._db.execute(query, (kind,))

    def lines(self, tape: str) -> list[tuple[int, bytes]]:
        """Give number and bytes of a tape's lines, in order."""
        query = "SELECT seq, data FROM tape_entries WHERE tape = ? ORDER BY seq"
        return self._db.execute(query, (tape,)).fetchall()

    def payloads_of(self, run: str) -> dict[str, Payload]:
        """Give the payloads whose column says `run`; `` are those that runs share."""
        query = "SELECT id, tenant, run, at_ms, key, data FROM payloads WHERE run = ?"
        return {row[0]: Payload(*row) for row in self._db.execute(query, (run,))}

    def shared(self) -> Iterator[Payload]:
        """Give the payloads that belong to no single run."""
        query = "SELECT id, tenant, run, at_ms, key, data FROM payloads WHERE run = ''"
        for row in self._db.execute(query):
            yield Payload(*row)

    def shared_times(self) -> dict[str, int]:
        """Give under which time each of these is kept, without reading it."""
        return dict(self._db.execute("SELECT id, at_ms FROM payloads WHERE run = ''"))

    def line_ids(self) -> Iterator[tuple[str, int]]:
        """Give tape and number of every line."""
        yield from self._db.execute("SELECT tape, seq FROM tape_entries")

    def orphans(self) -> Iterator[str]:
        """Give the payloads whose column names a run that was never accepted nor ended."""
        query = """SELECT id FROM payloads WHERE run <> '' AND NOT EXISTS (SELECT 1 FROM leaves
            WHERE subject = run AND kind IN ('run.accepted', 'run.finished'))"""
        for (payload_id,) in self._db.execute(query):
            yield payload_id

    def count(self, table: str) -> int:
        """Count the rows of `tape_entries` or `payloads`."""
        column = {"tape_entries": "tape", "payloads": "id"}[table]
        query = f"SELECT count({column}) FROM {table}"  # noqa: S608 (two constants)
        return int(self._db.execute(query).fetchone()[0])

    def staged(self) -> set[str]:
        """Give the ids of payloads whose leaf is not committed yet."""
        return {one for (one,) in self._db.execute("SELECT id FROM staged")}

    def data_keys(self) -> dict[str, bytes]:
        """Give the wrapped data key of every tenant that has one."""
        return dict(self._db.execute("SELECT tenant, record FROM data_keys"))

    def damage(self) -> str | None:
        """Give what SQLite itself finds wrong with the file."""
        try:
            (found,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        except DAMAGE as error:  # too damaged even to be checked
            return str(error)
        return None if found == "ok" else str(found)

    def changed(self) -> Iterator[str]:
        """Give what was found to be changed as such while it was read, when all was."""
        return iter(())

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class TileSource:
    """An archive as a directory of tiles: the log alone, as far as its checkpoint goes."""

    def __init__(self, directory: Path) -> None:
        self._files = TileDirectory(directory)

    def rows(self) -> Iterator[LeafRow]:
        """Give all leaves in order."""
        for index, data in enumerate(self._files.entries()):
            yield LeafRow(index, data, None)

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile, empty when there is none."""
        return self._files.tile(level, number)

    def tile_ids(self) -> Iterator[tuple[int, int]]:
        """Give no tile: what a crash left behind the checkpoint is none of it."""
        return iter(())

    def checkpoints(self) -> list[tuple[int, str]]:
        """Give the one checkpoint."""
        return [(self._files.size, self._files.note)]

    def damage(self) -> str | None:
        """Give nothing: each file is read when its turn comes."""
        return None

    def close(self) -> None:
        """Do nothing."""


def open_source(path: Path) -> SqliteSource | TileSource:
    """
    Open an archive: a file, the directory that holds `archive.db`, objects, or tiles alone.

    Raises:
        Invalid: there is none. LedgerDamaged: it is none of ours. Unavailable: it cannot be read.
    """
    from ledger.archives import objects_at  # noqa: PLC0415 (it builds on this module)
    from ledger.audit_objects import ObjectSource  # noqa: PLC0415

    if (path / NAME).is_file():
        return SqliteSource(path / NAME)
    if (store := objects_at(path)) is not None:
        return ObjectSource(store)
    if (path / "checkpoint").is_file():
        return TileSource(path)
    if path.is_file():
        return SqliteSource(path)
    raise Invalid(f"there is no archive at {path}")


def _open(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    for options in ("", "&immutable=1"):
        # In a directory that takes no writes, a file in WAL mode opens only if nobody may write it.
        if options and path.with_name(f"{path.name}-wal").exists():
            break
        try:
            db = sqlite3.connect(uri + options, uri=True, timeout=_WAIT_S, isolation_level=None)
            db.executescript("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;")
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError as error:
            failed = error
        except DAMAGE as error:
            raise LedgerDamaged(f"{path} is no archive of a ledger: {error}") from error
        else:
            return db
    raise Unavailable(f"the archive {path} cannot be read: {failed}")
