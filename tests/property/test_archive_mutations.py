"""
No change of an archive goes unnoticed, by either of two verifiers that share no code.

What a mutation may leave unnoticed is listed here and in docs/audit.md, and nothing else: bytes of
the file that hold no data, the bookkeeping of the writer, and the absence of older checkpoints.
"""

# ruff: noqa: S608 (names of tables are ours)

from __future__ import annotations

import io
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.redis_client import connect
from core.redis_server import PrivateRedis
from ledger.sqlite_archive import NAME
from tenancy.master_keys import MasterKeys
from tests.archive_mutations import MUTATIONS, Change, EditCell, truncate
from tests.archives import copied, make_archive, verified
from tests.sequencing import KEY
from tools import moonsand_verify

MASTERS_LINE = "m1:" + "A" * 43 + "="
MASTERS = MasterKeys.parse(MASTERS_LINE)
#: Columns that the audit does not cover: by which the one writer knows what it has done.
BOOKKEEPING = {("leaves", "inbox"), ("meta", "value of epoch"), ("staged", "id")}
KINDS = ("clear", "sealed")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Archives in the clear and sealed, with the checkpoints that an auditor has kept."""
    base = tmp_path_factory.mktemp("archives")
    made = {}
    with PrivateRedis(tmp_path_factory.mktemp("redis")) as server, connect(server.url) as client:
        for kind in KINDS:
            client.flushall()
            make_archive(client, base / kind, MASTERS if kind == "sealed" else None)
            made[kind] = base / kind
    (base / "masters").write_text(MASTERS_LINE)
    return made


def newest(directory: Path) -> str:
    """Give the newest checkpoint: what an auditor has kept."""
    with closing(sqlite3.connect(directory / NAME)) as db:
        row = db.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        return str(row[0])


def second_opinion(directory: Path, kept: str | None = None) -> tuple[int, str]:
    """Ask the verifier that shares no code with the service; give exit code and output."""
    arguments = [str(directory), "--key", str(KEY.public)]
    arguments += ["--vault-keys", str(directory.parent / "masters")]
    if kept is not None:
        (directory / "kept.note").write_text(kept)
        arguments += ["--from", str(directory / "kept.note")]
    said = io.StringIO()
    with redirect_stdout(said):
        code = moonsand_verify.main(arguments)
    return code, said.getvalue()


def both(directory: Path, kept: str | None = None) -> tuple[bool, bool, str]:
    """Tell whether each of both finds something, and what they said."""
    _, found = verified(directory, [kept] if kept else [], MASTERS)
    code, said = second_opinion(directory, kept)
    assert code in {0, 1}
    return bool(found), code == 1, "\n".join([*found, said])


def change(source: Path, to: Path, mutate: Change, rng: random.Random) -> Path:
    """Copy an archive and change it as somebody with the file in his hands would."""
    made = copied(source, to)
    with closing(sqlite3.connect(made / NAME, isolation_level=None)) as db:
        db.executescript("PRAGMA synchronous=OFF; BEGIN")
        mutate(db, rng)
        db.execute("COMMIT")
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_nobody_changed_holds(archives: dict[str, Path], kind: str) -> None:
    """Neither verifier finds anything, with and without a checkpoint that was kept."""
    for kept in (None, newest(archives[kind])):
        one, two, said = both(archives[kind], kept)
        assert (one, two) == (False, False), said


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda one: one.__name__)
@pytest.mark.timeout(300)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS))
def test_every_mutation_is_found_by_both(
    archives: dict[str, Path], mutate: Change, seed: int, kind: str
) -> None:
    """Whatever is edited, deleted, inserted, reordered or swapped: both verifiers say no."""
    to = archives[kind].parent / "mutated"
    made = change(archives[kind], to, mutate, random.Random(seed))  # noqa: S311 (no secret)
    one, two, said = both(made)
    assert (one, two) == (True, True), said


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS))
def test_a_tail_that_was_cut_off_is_found_with_an_earlier_checkpoint(
    archives: dict[str, Path], seed: int, kind: str
) -> None:
    """An archive put back to an earlier state holds by itself; who kept a checkpoint knows."""
    to = archives[kind].parent / "mutated"
    made = change(archives[kind], to, truncate, random.Random(seed))  # noqa: S311 (no secret)
    one, two, said = both(made)
    assert (one, two) == (False, False), said
    one, two, said = both(made, newest(archives[kind]))
    assert (one, two) == (True, True), said
    assert "its end was cut off" in said


def columns(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Give every column of every table."""
    tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    for (table,) in tables:
        for row in db.execute(f"PRAGMA table_info({table})"):
            yield table, row[1]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
def test_every_column_of_every_table_is_covered_or_listed(
    archives: dict[str, Path], kind: str
) -> None:
    """A value changed in any column of any row is found, but in the bookkeeping that is listed."""
    rng = random.Random(7)  # noqa: S311 (no secret)
    unnoticed = set()
    with closing(sqlite3.connect(archives[kind] / NAME)) as db:
        cells = list(columns(db))
        counts = {
            table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table, _ in cells
        }
    for table, column in cells:
        assert counts[table] or table in {"staged", "data_keys"}
        for _ in range(4 if counts[table] else 0):
            edit = EditCell(table, column)
            made = change(archives[kind], archives[kind].parent / "mutated", edit, rng)
            one, two, said = both(made)
            if (made / NAME).read_bytes() == (archives[kind] / NAME).read_bytes():
                continue
            assert one == two, (table, column, said)
            if not one:
                unnoticed.add((table, edit.name))
    assert unnoticed <= BOOKKEEPING


def content(directory: Path) -> Any:
    """Give all that an archive says, as far as the audit covers it; None if it cannot be read."""
    with closing(sqlite3.connect(directory / NAME)) as db:
        try:
            return {
                table: sorted(db.execute(f"SELECT {names} FROM {table}").fetchall(), key=repr)
                for table, names in {
                    "leaves": "idx, data, kind, subject, tenant, at_ms",
                    "tiles": "*",
                    "tape_entries": "*",
                    "payloads": "*",
                    "data_keys": "*",
                    "checkpoints": "*",
                }.items()
            }
        except (sqlite3.Error, UnicodeDecodeError):
            return None


@pytest.mark.timeout(180)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS))
def test_whatever_byte_of_the_file_is_changed_what_is_verified_says_the_same(
    archives: dict[str, Path], seed: int, kind: str
) -> None:
    """Bytes anywhere in the file: neither verifier breaks, and none passes another content."""
    rng = random.Random(seed)  # noqa: S311 (no secret)
    made = copied(archives[kind], archives[kind].parent / "mutated")
    data = bytearray((made / NAME).read_bytes())
    for _ in range(rng.choice([1, 1, 1, 40])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    (made / NAME).write_bytes(data)
    one, two, said = both(made)
    if content(made) != content(archives[kind]):
        assert (one, two) == (True, True), said


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_another_type_breaks_neither_verifier(
    archives: dict[str, Path], kind: str
) -> None:
    """One byte of the file makes a text of the table bytes; that is told as all damage is."""
    made = copied(archives[kind], archives[kind].parent / "mutated")
    strict = "SELECT sql FROM sqlite_schema WHERE name = 'checkpoints'"
    change = "UPDATE sqlite_schema SET sql = ? WHERE name = 'checkpoints'"
    with closing(sqlite3.connect(made / NAME)) as db:
        (sql,) = db.execute(strict).fetchone()
    for schema, work in (
        (sql.replace(" STRICT", ""), ""),
        (sql, "UPDATE checkpoints SET note = CAST(note AS BLOB)"),
    ):
        with closing(sqlite3.connect(made / NAME, isolation_level=None)) as db:
            db.execute(work)
            db.execute("PRAGMA writable_schema = ON")
            db.execute(change, (schema,))
    one, two, said = both(made)
    assert (one, two) == (True, True), said
