"""What somebody with an archive's file in his hands may do to it."""

# ruff: noqa: S608 (names of tables are ours)

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from typing import Any

import orjson

from ledger.merkle import leaf_hash
from ledger.tiles import Edge

Change = Callable[[sqlite3.Connection, random.Random], None]


def one_of(db: sqlite3.Connection, rng: random.Random, query: str) -> Any:
    """Give a row of a query's."""
    return rng.choice(db.execute(query).fetchall())


def edited(value: Any, rng: random.Random) -> Any:
    """Change one bit of a value."""
    if isinstance(value, int):
        return value ^ (1 << rng.randrange(20))
    if isinstance(value, str):
        at = rng.randrange(len(value)) if value else 0
        return value[:at] + ("x" if value[at : at + 1] != "x" else "y") + value[at + 1 :]
    data = bytearray(value)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


BLOBS = {
    "leaves": ("idx", "data"),
    "tiles": ("level, idx", "data"),
    "tape_entries": ("tape, seq", "data"),
    "payloads": ("id", "data"),
    "checkpoints": ("size", "note"),
    "data_keys": ("tenant", "record"),
}


def edit_a_byte(db: sqlite3.Connection, rng: random.Random) -> None:
    """Change one bit of what is stored."""
    filled = [one for one in BLOBS if db.execute(f"SELECT 1 FROM {one} LIMIT 1").fetchone()]
    table = rng.choice(filled)
    key, column = BLOBS[table]
    *where, value = one_of(db, rng, f"SELECT {key}, {column} FROM {table}")
    match = " AND ".join(f"{name} = ?" for name in key.split(", "))
    db.execute(f"UPDATE {table} SET {column} = ? WHERE {match}", [edited(value, rng), *where])


def delete_a_row(db: sqlite3.Connection, rng: random.Random) -> None:
    """Delete one row."""
    table = rng.choice(["leaves", "tiles", "tape_entries", "payloads"])
    key = BLOBS[table][0]
    where = one_of(db, rng, f"SELECT {key} FROM {table}")
    match = " AND ".join(f"{name} = ?" for name in key.split(", "))
    db.execute(f"DELETE FROM {table} WHERE {match}", where)


def renumber(db: sqlite3.Connection, order: list[int]) -> None:
    """Put the leaves in another order; those left out are gone."""
    rows = dict(db.execute("SELECT idx, data FROM leaves").fetchall())
    kept = {
        idx: db.execute("SELECT * FROM leaves WHERE idx = ?", (idx,)).fetchone() for idx in rows
    }
    db.execute("DELETE FROM leaves")
    for new, old in enumerate(order):
        row = kept[old]
        inbox = f"{row[2]}-{new}"
        db.execute(
            "INSERT INTO leaves VALUES (?, ?, ?, ?, ?, ?, ?)", (new, row[1], inbox, *row[3:])
        )


def rebuild_tiles(db: sqlite3.Connection) -> None:
    """Make the tiles anew, as a forger would who knows how."""
    hashes = [leaf_hash(data) for (data,) in db.execute("SELECT data FROM leaves ORDER BY idx")]
    db.execute("DELETE FROM tiles")
    tiles = Edge(0, lambda _level, _number: b"").append(hashes)
    rows = [(level, number, data) for (level, number), data in tiles.items()]
    db.executemany("INSERT INTO tiles VALUES (?, ?, ?)", rows)


def reorder(db: sqlite3.Connection, rng: random.Random) -> None:
    """Let two leaves change places, with tiles as they were or made anew."""
    order = [idx for (idx,) in db.execute("SELECT idx FROM leaves ORDER BY idx")]
    one, two = rng.sample(order, 2)
    order[one], order[two] = order[two], order[one]
    data = [
        db.execute("SELECT data FROM leaves WHERE idx = ?", (n,)).fetchone() for n in (one, two)
    ]
    if data[0] == data[1]:  # leaves with the same bytes: nothing is changed
        order.reverse()
    renumber(db, order)
    if rng.random() < 0.5:
        rebuild_tiles(db)


def leave_one_out(db: sqlite3.Connection, rng: random.Random) -> None:
    """Take one leaf out and close the gap."""
    order = [idx for (idx,) in db.execute("SELECT idx FROM leaves ORDER BY idx")]
    del order[rng.randrange(len(order) - 1)]
    renumber(db, order)
    rebuild_tiles(db)


def insert_one(db: sqlite3.Connection, rng: random.Random) -> None:
    """Put in a leaf that is there already."""
    order = [idx for (idx,) in db.execute("SELECT idx FROM leaves ORDER BY idx")]
    order.insert(rng.randrange(len(order)), rng.choice(order))
    renumber(db, order)
    rebuild_tiles(db)


def rewrite_a_leaf(db: sqlite3.Connection, rng: random.Random) -> None:
    """Give a leaf to another tenant, in its bytes, its column and the tiles."""
    idx, data = one_of(db, rng, "SELECT idx, data FROM leaves")
    fields = orjson.loads(data)
    fields["tenant"] = "somebody"
    made = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    db.execute("UPDATE leaves SET data = ?, tenant = 'somebody' WHERE idx = ?", (made, idx))
    rebuild_tiles(db)


def swap_tenants(db: sqlite3.Connection, rng: random.Random) -> None:
    """Let the ends of two tenants' runs change owners."""
    query = "SELECT idx, data FROM leaves WHERE kind = 'run.finished' AND tenant = '{}'"
    one, two = (one_of(db, rng, query.format(tenant)) for tenant in ("acme", "beta"))
    for (idx, data), tenant in ((one, "beta"), (two, "acme")):
        fields = orjson.loads(data) | {"tenant": tenant}
        made = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
        db.execute("UPDATE leaves SET data = ?, tenant = ? WHERE idx = ?", (made, tenant, idx))
    if rng.random() < 0.5:
        rebuild_tiles(db)


def swap_tapes(db: sqlite3.Connection, rng: random.Random) -> None:
    """Let two tapes change places."""
    tapes = [tape for (tape,) in db.execute("SELECT DISTINCT tape FROM tape_entries")]
    one, two = rng.sample(tapes, 2)
    for old, new in ((one, "x"), (two, one), ("x", two)):
        db.execute("UPDATE tape_entries SET tape = ? WHERE tape = ?", (new, old))


def swap_payloads(db: sqlite3.Connection, rng: random.Random) -> None:
    """Let two payloads change places."""
    rows = db.execute("SELECT id, data, key FROM payloads").fetchall()
    one, two = rng.sample(rows, 2)
    while one[1] == two[1]:
        one, two = rng.sample(rows, 2)
    for (payload_id, *_), (_, data, key) in ((one, two), (two, one)):
        db.execute("UPDATE payloads SET data = ?, key = ? WHERE id = ?", (data, key, payload_id))


def insert_a_line(db: sqlite3.Connection, rng: random.Random) -> None:
    """Put in a line of a tape."""
    tape, data = one_of(db, rng, "SELECT tape, data FROM tape_entries")
    db.execute("INSERT INTO tape_entries VALUES (?, ?, ?)", (rng.choice([tape, "x"]), 99, data))


def insert_a_payload(db: sqlite3.Connection, rng: random.Random) -> None:
    """Put in a payload."""
    _, *rest = one_of(db, rng, "SELECT * FROM payloads")
    tape = one_of(db, rng, "SELECT tape FROM tape_entries")[0]
    made = rng.choice(["input/run_x", f"tape/{tape}/99", "script/acme/" + "0" * 64, "x"])
    db.execute("INSERT INTO payloads VALUES (?, ?, ?, ?, ?, ?)", (made, *rest))


def forge_a_checkpoint(db: sqlite3.Connection, rng: random.Random) -> None:
    """Put another note in the place of a checkpoint."""
    size, note = one_of(db, rng, "SELECT size, note FROM checkpoints")
    other = one_of(db, rng, f"SELECT note FROM checkpoints WHERE size <> {size}")[0]
    cut = note.replace(f"\n{size}\n", f"\n{size - 1}\n")
    made = rng.choice([other, cut, note.rpartition("\u2014")[0], ""])
    db.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (made, size))


def change_numbers(db: sqlite3.Connection, rng: random.Random) -> None:
    """Give a line of a tape another number."""
    tape, seq = one_of(db, rng, "SELECT tape, seq FROM tape_entries")
    query = "UPDATE tape_entries SET seq = ? WHERE tape = ? AND seq = ?"
    db.execute(query, (rng.randrange(50, 99), tape, seq))


def truncate(db: sqlite3.Connection, rng: random.Random) -> None:
    """Put the archive back to an earlier state, as whole as it was then."""
    sizes = [size for (size,) in db.execute("SELECT size FROM checkpoints ORDER BY size")][:-1]
    size = rng.choice(sizes)
    query = "SELECT subject, data FROM leaves WHERE idx >= ? AND kind = 'run.finished'"
    for run, data in db.execute(query, (size,)).fetchall():
        db.execute("DELETE FROM payloads WHERE run = ?", (run,))
        tape = orjson.loads(data)["tape"]["id"]
        db.execute("DELETE FROM tape_entries WHERE tape = ?", (tape,))
    db.execute("DELETE FROM leaves WHERE idx >= ?", (size,))
    db.execute("DELETE FROM checkpoints WHERE size > ?", (size,))
    named = [orjson.loads(data) for (data,) in db.execute("SELECT data FROM leaves")]
    scripts = {f"script/{one['tenant']}/{one.get('script_sha256')}" for one in named}
    for (payload_id,) in db.execute("SELECT id FROM payloads WHERE id LIKE 'script/%'").fetchall():
        if payload_id not in scripts:
            db.execute("DELETE FROM payloads WHERE id = ?", (payload_id,))
    rebuild_tiles(db)


MUTATIONS = [
    edit_a_byte,
    delete_a_row,
    reorder,
    leave_one_out,
    insert_one,
    rewrite_a_leaf,
    swap_tenants,
    swap_tapes,
    swap_payloads,
    insert_a_line,
    insert_a_payload,
    forge_a_checkpoint,
    change_numbers,
]


class EditCell:
    """Change one bit of a column in a row; `name` tells afterwards which column it was."""

    def __init__(self, table: str, column: str) -> None:
        self._table, self._column, self.name = table, column, column

    def __call__(self, db: sqlite3.Connection, rng: random.Random) -> None:
        """Do it, unless the value is unique and there already."""
        query = f"SELECT * FROM {self._table} WHERE {self._column} IS NOT NULL"
        row = rng.choice(db.execute(query).fetchall())
        names = [one[1] for one in db.execute(f"PRAGMA table_info({self._table})")]
        if (self._table, self._column) == ("meta", "value"):
            self.name = f"value of {row[0]}"
        new = edited(row[names.index(self._column)], rng)
        where = " AND ".join(f"{one} IS ?" for one in names)
        query = f"UPDATE OR IGNORE {self._table} SET {self._column} = ? WHERE {where}"
        assert db.execute(query, [new, *row]).rowcount <= 1
