"""
The usage report: what tenants and keys used on each UTC day, made of the ledger's leaves.

Runs in: api, CLI. Trusts: the archive, as far as `moonsand audit verify` has verified it. Refuses:
to go on with sums that were made of another log. May import: stdlib, orjson, core, ledger.

The sums stand in a file of this host that can be thrown away at any time: they are made anew of the
leaves. It may have several users: each stretch of leaves is added in one transaction, together with
the number of the next leaf, by whoever comes first.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from core.errors import Unavailable
from ledger.archive import ArchiveReader
from ledger.sqlite_writes import all_or_none, make_file
from ledger.usage_rows import Place, UsageRow, Used, fold

STEM = "usage"
#: Of the format of the file and of what is counted; sums of another version are made anew.
_VERSION = 2
_STRETCH = 2_000
_WAIT_S = 10.0
MAX_PAGE = 1_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (next INTEGER NOT NULL, digest TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS used (
    day TEXT, tenant TEXT, key TEXT, sums BLOB NOT NULL,
    PRIMARY KEY (day, tenant, key)) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Which rows: days from and to (both included, `2026-11-23`), of one tenant or of all (None).

    `by_key`: a row for each key instead of one for each tenant; of one key only, if it is named.
    """

    first_day: str
    last_day: str
    tenant: str | None = None
    by_key: bool = False
    key: str | None = None


class Usage:
    """The sums, in a file or, without a path, in memory. One thread at a time."""

    def __init__(self, path: Path | None = None) -> None:
        with _readable():
            if path is not None and not path.exists():
                make_file(path, lambda _: None)
            self._db = sqlite3.connect(
                path or ":memory:", timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA synchronous=NORMAL")
            with self._transaction():
                if self._one("PRAGMA user_version") != (_VERSION,):
                    self._db.execute("DROP TABLE IF EXISTS state")
                    self._db.execute("DROP TABLE IF EXISTS used")
                    for statement in _SCHEMA.split(";"):
                        self._db.execute(statement)
                    self._db.execute("INSERT INTO state VALUES (0, '')")
                    self._db.execute(f"PRAGMA user_version = {_VERSION}")

    @property
    def counted(self) -> int:
        """Tell how many entries of the ledger were looked at."""
        with _readable():
            return int(self._one("SELECT next FROM state")[0])

    def follow(self, archive: ArchiveReader, within_s: float | None = None) -> bool:
        """
        Add what came to the archive since; tell whether all of it is added.

        `within_s` bounds the time: what is left is added by the next call.

        Raises:
            Unavailable: archive or file cannot be read.
        """
        end = None if within_s is None else time.monotonic() + within_s
        while self._add(archive):
            if end is not None and time.monotonic() > end:
                return self.counted >= archive.size
        return True

    def page(
        self, wanted: Wanted, after: Place | None = None, limit: int = MAX_PAGE
    ) -> tuple[list[UsageRow], Place | None]:
        """
        Give up to `limit` rows by day, tenant and key, and the last place if there are more.

        Raises:
            Unavailable: the file cannot be read.
        """
        limit = max(1, min(limit, MAX_PAGE))
        query = "SELECT day, tenant, key, sums FROM used WHERE day >= ? AND day <= ?"
        query += " AND (key <> '') = ?"
        values: list[Any] = [wanted.first_day, wanted.last_day, int(wanted.by_key)]
        if after is not None:
            query += " AND (day, tenant, key) > (?, ?, ?)"
            values += [after.day, after.tenant, after.key]
        if wanted.tenant is not None:
            query, values = f"{query} AND tenant = ?", [*values, wanted.tenant]
        if wanted.key is not None:
            query, values = f"{query} AND key = ?", [*values, wanted.key]
        with _readable():
            found = self._db.execute(
                f"{query} ORDER BY day, tenant, key LIMIT ?", [*values, limit + 1]
            ).fetchall()
        rows = [
            UsageRow(Place(day, tenant, key), Used.of_json(orjson.loads(sums)))
            for day, tenant, key, sums in found[:limit]
        ]
        return rows, rows[-1].place if len(found) > limit else None

    def rows(self, wanted: Wanted) -> Iterator[UsageRow]:
        """Give all rows, page by page."""
        after: Place | None = None
        while True:
            page, after = self.page(wanted, after)
            yield from page
            if after is None:
                return

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _add(self, archive: ArchiveReader) -> bool:
        """Add one stretch of leaves; tell whether there may be more."""
        with self._transaction():
            start, digest = self._one("SELECT next, digest FROM state")
            # The last leaf that was counted comes first: it tells whether this still is that log.
            leaves = [found.data for found in islice(archive.leaves(max(0, start - 1)), _STRETCH)]
            if start and (not leaves or _digest(leaves[0]) != digest):
                self._db.execute("DELETE FROM used")
                self._db.execute("UPDATE state SET next = 0, digest = ''")
                return True
            new = leaves[1:] if start else leaves
            if not new:
                return False
            for place, used in fold(new).items():
                self._merge(place, used)
            row = (start + len(new), _digest(new[-1]))
            self._db.execute("UPDATE state SET next = ?, digest = ?", row)
            return True

    def _merge(self, place: Place, used: Used) -> None:
        where = (place.day, place.tenant, place.key)
        query = "SELECT sums FROM used WHERE (day, tenant, key) = (?, ?, ?)"
        known = self._db.execute(query, where).fetchone()
        if known is not None:
            used.add(Used.of_json(orjson.loads(known[0])))
        row = (*where, orjson.dumps(used.to_json()))
        self._db.execute("INSERT OR REPLACE INTO used VALUES (?, ?, ?, ?)", row)

    def _one(self, query: str) -> Any:
        return self._db.execute(query).fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _readable(), all_or_none(self._db):
            yield


def _digest(leaf: bytes) -> str:
    return hashlib.sha256(leaf).hexdigest()


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        hint = "its file, usage-*.db, can be deleted: it is made anew of the ledger"
        raise Unavailable(f"the sums of usage cannot be kept here: {error}", hint=hint) from error
