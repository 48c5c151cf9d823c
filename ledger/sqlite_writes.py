"""
Making a SQLite file of the ledger, and writing several things to it, all or none.

Runs in: the sequencer, and commands that read an archive's views.
Trusts: the file's owner.
Refuses: to leave half of a file made, or of a block written.
May import: nothing of the project.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path


@contextmanager
def all_or_none(database: sqlite3.Connection) -> Iterator[None]:
    """
    Write what is in the `with` block, or nothing of it when it raises. Others wait meanwhile.

    Raises:
        sqlite3.Error: the file takes no writes.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def make_file(path: Path, fill: Callable[[sqlite3.Connection], object]) -> None:
    """
    Make a file elsewhere and put it in its place whole: a crash leaves all of it or none.

    If somebody else has made it meanwhile, theirs stays. Of several that turn one file to WAL at
    the same moment, SQLite lets some fail at once.

    Raises:
        OSError, sqlite3.Error: it cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix=".new", dir=path.parent) as directory:
        made = Path(directory) / path.name
        os.close(os.open(made, os.O_CREAT | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(made, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            fill(database)
        with suppress(FileExistsError):
            os.link(made, path)
