"""What an archive promises: all of a write or none, each entry once, exact bytes, one writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from core.errors import Unavailable
from ledger.archive import NewLeaf, Payload, TapeLine
from ledger.merkle import leaf_hash, root_of
from ledger.sqlite_archive import NAME, SqliteArchive
from ledger.tiles import LedgerDamaged, root_at

BYTES = (b"{}", b'{"id":"a","kind":"x"}', '{"größe":"\u2603"}'.encode(), b"\xff\x00", b"x" * 65_535)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[SqliteArchive]:
    """An empty archive in the hands of a writer."""
    made = SqliteArchive.create(tmp_path / NAME)
    yield made
    made.close()


def leaves(*data: bytes, start: int = 0) -> list[NewLeaf]:
    """Make leaves of different inbox entries."""
    return [NewLeaf(f"{number}-1", one) for number, one in enumerate(data, start)]


def test_what_was_committed_is_what_is_read(archive: SqliteArchive, tmp_path: Path) -> None:
    """Leaves, lines and payloads come back in their exact bytes, to a reader too."""
    epoch = archive.take_over()
    lines = [TapeLine("t", seq, b"line %d" % seq) for seq in (2, 1)]
    payload = Payload("tape/t/1", "acme", "run_1", 5, "key", b"\x00sealed")
    assert archive.commit(epoch, leaves(*BYTES), lines, [payload]) == len(BYTES)
    archive.keep_data_key(epoch, "acme", b"wrapped")
    archive.keep_checkpoint(epoch, 5, "note")

    reader = SqliteArchive(tmp_path / NAME, write=False)
    for one in (archive, reader):
        assert [found.data for found in one.leaves()] == list(BYTES)
        assert [found.index for found in one.leaves(3)] == [3, 4]
        assert root_at(one.tile, 5) == root_of(map(leaf_hash, BYTES))
        assert [(found.index, found.data) for found in one.find("a")] == [(1, BYTES[1])]
        assert one.tape("t") == [b"line 1", b"line 2"]
        assert one.payload("tape/t/1") == payload
        assert one.data_keys() == {"acme": b"wrapped"}
        assert one.checkpoint() == "note"
    assert (reader.find("none"), reader.tape("none")) == ([], [])
    assert (reader.payload("none"), reader.tile(0, 9)) == (None, b"")
    reader.close()


def test_an_inbox_entry_is_never_taken_twice(archive: SqliteArchive) -> None:
    """The second time the whole commit is refused, what else was in it included."""
    epoch = archive.take_over()
    archive.commit(epoch, leaves(b"{}"))
    before = archive.tile(0, 0)
    with pytest.raises(LedgerDamaged):
        archive.commit(epoch, [*leaves(b"[]", start=7), *leaves(b"{}")], [TapeLine("t", 1, b"")])
    assert archive.size == 1
    assert archive.tile(0, 0) == before
    assert archive.tape("t") == []
    assert archive.known(["0-1", "7-1"]) == {"0-1"}
    assert archive.commit(epoch, leaves(b"[]", start=7)) == 2


def test_what_is_staged_is_no_leaf(archive: SqliteArchive) -> None:
    """Parts of tapes may lie there for a commit that never came: the log does not know them."""
    epoch = archive.take_over()
    archive.stage(epoch, [TapeLine("lost", 1, b"x")], [])
    assert (archive.size, list(archive.leaves())) == (0, [])
    assert archive.commit(epoch, leaves(b"{}"), [TapeLine("t", 1, b"x")]) == 1


def test_of_many_that_begin_at_once_all_have_one_archive(tmp_path: Path) -> None:
    """Making the file is one step: nobody sees half of it, and nobody's is lost."""
    epochs: list[int] = []

    def begin() -> None:
        made = SqliteArchive.create(tmp_path / NAME)
        epochs.append(made.take_over())
        made.close()

    threads = [Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(epochs) == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME]
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    """Nothing, garbage, another database and a later format: each in words."""
    path = tmp_path / NAME
    with pytest.raises(Unavailable, match=r"cannot be (opened|read)"):
        SqliteArchive(path, write=False)
    path.write_bytes(b"garbage" * 200)
    with pytest.raises(Unavailable, match="cannot be read"):
        SqliteArchive.create(path)
    path.unlink()
    SqliteArchive.create(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = 2 WHERE name = 'format'")
    db.close()
    with pytest.raises(Unavailable, match="has format 2, not 1"):
        SqliteArchive(path, write=False)


def test_a_reader_cannot_write(archive: SqliteArchive, tmp_path: Path) -> None:
    """The API's handle is refused by SQLite itself."""
    epoch = archive.take_over()
    reader = SqliteArchive(tmp_path / NAME, write=False)
    with pytest.raises(Unavailable, match="takes no writes"):
        reader.commit(epoch, leaves(b"{}"))
    reader.close()
    assert archive.size == 0
