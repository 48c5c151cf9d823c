"""What an archive promises: all of a write or none, each entry once, exact bytes, one writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from core.errors import Unavailable
from ledger.archive import Archive, NewLeaf, Outrun, Payload, TapeLine
from ledger.merkle import leaf_hash, root_of
from ledger.sqlite_archive import NAME, SqliteArchive
from ledger.tiles import LedgerDamaged, root_at
from tests.archive_kinds import IN_MOTO, KINDS, Place, place_of
from tests.sequencing import KEY

BYTES = (b"{}", b'{"id":"a","kind":"x"}', '{"größe":"\u2603"}'.encode(), b"\xff\x00", b"x" * 65_535)


@pytest.fixture(params=[*KINDS, IN_MOTO])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A place for an archive of each kind."""
    with place_of(request.param, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def archive(place: Place) -> Iterator[Archive]:
    """An empty archive in the hands of a writer."""
    with closing(place.create()) as made:
        yield made


def leaves(*data: bytes, start: int = 0) -> list[NewLeaf]:
    """Make leaves of different inbox entries."""
    return [NewLeaf(f"{number}-1", one) for number, one in enumerate(data, start)]


def test_what_was_committed_is_what_is_read(archive: Archive, place: Place) -> None:
    """Leaves, lines and payloads come back in their exact bytes, to a reader too."""
    epoch = archive.take_over()
    lines = [TapeLine("t", seq, b"line %d" % seq) for seq in (2, 1)]
    payload = Payload("tape/t/1", "acme", "run_1", 5, "key", b"\x00sealed")
    assert archive.commit(epoch, leaves(*BYTES), lines, [payload]) == len(BYTES)
    archive.keep_data_key(epoch, "acme", b"wrapped")
    note = KEY.sign(5, root_at(archive.tile, 5))
    archive.keep_checkpoint(epoch, 5, note)

    reader = place.reader()
    for one in (archive, reader):
        assert [found.data for found in one.leaves()] == list(BYTES)
        assert [found.index for found in one.leaves(3)] == [3, 4]
        assert root_at(one.tile, 5) == root_of(map(leaf_hash, BYTES))
        assert [(found.index, found.data) for found in one.find("a")] == [(1, BYTES[1])]
        assert one.tape("t") == [b"line 1", b"line 2"]
        assert one.payload("tape/t/1") == payload
        assert one.data_keys() == {"acme": b"wrapped"}
        assert one.checkpoint() == note
    assert (reader.find("none"), reader.tape("none")) == ([], [])
    assert (reader.payload("none"), reader.tile(0, 9)) == (None, b"")
    reader.close()


def test_an_inbox_entry_is_never_taken_twice(archive: Archive) -> None:
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


def test_what_is_staged_is_no_leaf(archive: Archive) -> None:
    """Parts of tapes may lie there for a commit that never came: the log does not know them."""
    epoch = archive.take_over()
    archive.stage(epoch, [TapeLine("lost", 1, b"x")], [])
    assert (archive.size, list(archive.leaves())) == (0, [])
    assert archive.commit(epoch, leaves(b"{}"), [TapeLine("t", 1, b"x")]) == 1


def test_what_was_staged_and_discarded_is_gone(archive: Archive, place: Place) -> None:
    """Its payloads are not there for anybody, and may come again; what was committed stays."""
    epoch = archive.take_over()
    kept, lost = (
        Payload(name, "acme", "run_1", 5, "", b"x") for name in ("input/run_1", "tape/t/1")
    )
    archive.commit(epoch, leaves(b"{}"), [], [kept])
    archive.stage(epoch, [TapeLine("t", 1, b"x")], [kept, lost])
    assert archive.has_payloads([kept.id, lost.id]) == {kept.id, lost.id}
    archive.discard(epoch)
    assert archive.has_payloads([kept.id, lost.id]) == {kept.id}
    assert archive.payload(lost.id) is None
    archive.commit(epoch, leaves(b"[]", start=1), [TapeLine("t", 1, b"y")], [lost])
    with closing(place.reader()) as reader:
        assert reader.payload(kept.id) == kept
        assert reader.payload(lost.id) == lost
        assert reader.tape("t") == [b"y"]


def test_what_a_sequencer_staged_before_it_died_is_gone(archive: Archive, place: Place) -> None:
    """Who begins next forgets it; who was outrun can write, stage, sign and discard nothing."""
    epoch = archive.take_over()
    lost = Payload("tape/t/1", "acme", "run_1", 5, "", b"x")
    archive.stage(epoch, [TapeLine("t", 1, b"x")], [lost])
    with closing(place.create()) as after:
        assert after.take_over() == epoch + 1
        assert after.has_payloads([lost.id]) == set()
        assert (after.payload(lost.id), after.tape("t")) == (None, [])
        for write in (
            lambda: archive.commit(epoch, leaves(b"{}")),
            lambda: archive.commit(epoch, leaves(b"{}"), [TapeLine("t", 1, b"x")], [lost]),
            lambda: archive.stage(epoch, [], [lost]),
            lambda: archive.keep_data_key(epoch, "acme", b"late"),
            lambda: archive.keep_checkpoint(epoch, 0, ""),
        ):
            with pytest.raises(Outrun):
                write()
        assert after.commit(epoch + 1, leaves(b"{}"), [TapeLine("t", 1, b"y")], [lost]) == 1
        assert after.data_keys() == {}
        assert after.tape("t") == [b"y"]


def test_a_data_key_takes_the_place_of_the_one_before(archive: Archive, place: Place) -> None:
    """A tenant has one, the newest; what it was wrapped with before is nowhere."""
    epoch = archive.take_over()
    for record in (b"first-record", b"second-record"):
        archive.keep_data_key(epoch, "acme", record)
        archive.keep_data_key(epoch, "other", record)
    with closing(place.reader()) as reader:
        assert reader.data_keys() == {"acme": b"second-record", "other": b"second-record"}
    if place.objects:
        data = place.all_objects().values()
        assert any(b"second-record" in one for one in data)
        assert not any(b"first-record" in one for one in data)


def test_of_many_that_begin_at_once_all_have_one_archive(place: Place) -> None:
    """Making the archive is one step: nobody sees half of it, and nobody's is lost."""
    epochs: list[int] = []

    def begin() -> None:
        made = place.create()
        epochs.append(made.take_over())
        made.close()

    threads = [Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(epochs) == [1, 2, 3, 4, 5, 6]
    if not place.objects:
        # Of two that close at the same moment SQLite lets neither remove these.
        beside = {f"{NAME}-wal", f"{NAME}-shm"}
        assert {path.name for path in place.directory.iterdir()} - beside == {NAME}
    files = [path for path in place.directory.rglob("*") if path.is_file() and path.stat().st_size]
    assert [path for path in files if path.stat().st_mode & 0o077] == []


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


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """The API's handle is refused by SQLite itself."""
    archive = SqliteArchive.create(tmp_path / NAME)
    epoch = archive.take_over()
    reader = SqliteArchive(tmp_path / NAME, write=False)
    with pytest.raises(Unavailable, match="takes no writes"):
        reader.commit(epoch, leaves(b"{}"))
    reader.close()
    assert archive.size == 0
    archive.close()
