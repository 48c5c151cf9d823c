"""
Writing several things to a SQLite file of the ledger, all or none.

Runs in: the sequencer, and commands that read an archive's views.
Trusts: the file's owner.
Refuses: to leave half of a block written.
May import: nothing of the project.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


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
