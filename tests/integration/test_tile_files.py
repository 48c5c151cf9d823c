"""The log in files: any reader of C2SP tiles can check it, and no file is written twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from core import keys
from ledger.archive import NewLeaf
from ledger.merkle import leaf_hash, root_of
from ledger.notes import Checkpoint
from ledger.sqlite_archive import NAME, SqliteArchive
from ledger.tile_files import TileFiles, tile_path
from ledger.tiles import LedgerDamaged, root_at
from tests.sequencing import KEY, plain, taking


class Reader:
    """Reads the files as tlog-tiles says, knowing nothing of who wrote them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checkpoint: Checkpoint = KEY.public.open((directory / "checkpoint").read_text())

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile, or the part of it that this checkpoint's tree has."""
        width = min(256, (self.checkpoint.size >> 8 * level) - number * 256)
        return (self.directory / tile_path(str(level), number, width)).read_bytes()

    def entries(self) -> list[bytes]:
        """Give all leaves."""
        found: list[bytes] = []
        while len(found) < self.checkpoint.size:
            width = min(256, self.checkpoint.size - len(found))
            data = (self.directory / tile_path("entries", len(found) // 256, width)).read_bytes()
            while data:
                length = int.from_bytes(data[:2], "big")
                found.append(data[2 : 2 + length])
                data = data[2 + length :]
        return found


def check(directory: Path) -> list[bytes]:
    """Check all files against the checkpoint; give the leaves."""
    reader = Reader(directory)
    entries = reader.entries()
    assert len(entries) == reader.checkpoint.size
    assert root_of(map(leaf_hash, entries)) == reader.checkpoint.root
    assert root_at(reader.tile, reader.checkpoint.size) == reader.checkpoint.root
    return entries


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The directory of the files."""
    made = tmp_path / "files"
    made.mkdir()
    return made


def test_paths_are_those_of_the_specification() -> None:
    """The examples of tlog-tiles."""
    assert tile_path("0", 1234067) == "tile/0/x001/x234/067"
    assert tile_path("1", 0) == "tile/1/000"
    assert tile_path("entries", 999, 5) == "tile/entries/999.p/5"
    assert tile_path("0", 1000, 1) == "tile/0/x001/000.p/1"


def test_the_files_hold_the_log_at_every_checkpoint(
    redis_sync: redis.Redis, tmp_path: Path, files: Path
) -> None:
    """Growing by any steps, over restarts, the files agree with the checkpoint beside them."""
    made: list[bytes] = []
    for step in (1, 254, 1, 1, 255, 300, 700):
        made += plain(redis_sync, step)
        with taking(redis_sync, tmp_path) as one:
            one.checkpoints._witnesses = [TileFiles(one.archive, files)]
            one.drain()
        assert check(files) == made
    parts = sorted(path.parent.name for path in files.glob("tile/0/*.p/*"))
    assert parts == ["005.p"]


def test_after_a_crash_the_next_checkpoint_brings_what_is_missing(
    redis_sync: redis.Redis, tmp_path: Path, files: Path
) -> None:
    """Tiles without their checkpoint, or no files at all: nothing is lost and nothing clashes."""
    plain(redis_sync, 600)
    with taking(redis_sync, tmp_path) as one:
        one.drain()
        witness = TileFiles(one.archive, files)
        note = KEY.sign(600, root_at(one.archive.tile, 600))
        witness.push(600, note)
        (files / "checkpoint").write_text(KEY.sign(10, root_at(one.archive.tile, 10)))
        plain(redis_sync, 5)
        one.checkpoints._witnesses = [TileFiles(one.archive, files)]
        one.drain()
    assert len(check(files)) == 605


def test_a_file_is_never_written_with_other_bytes(
    redis_sync: redis.Redis, tmp_path: Path, files: Path
) -> None:
    """A tile that was changed, or that belongs to another past, stops the sequencer."""
    plain(redis_sync, 300)
    with taking(redis_sync, tmp_path) as one:
        one.drain()
        target = files / tile_path("0", 0)
        target.parent.mkdir(parents=True)
        target.write_bytes(b"x" * 8_192)
        note = KEY.sign(300, root_at(one.archive.tile, 300))
        with pytest.raises(LedgerDamaged, match="tile/0/000 is there with other bytes"):
            TileFiles(one.archive, files).push(300, note)
    assert not (files / "checkpoint").exists()


def test_an_archive_behind_its_files_is_refused(
    redis_sync: redis.Redis, tmp_path: Path, files: Path
) -> None:
    """The files keep a checkpoint too: an archive that was put back is found out by it."""
    plain(redis_sync, 3)
    with taking(redis_sync, tmp_path) as one:
        one.checkpoints._witnesses = [TileFiles(one.archive, files)]
        one.drain()
    for path in tmp_path.glob(f"{NAME}*"):
        path.unlink()
    archive = SqliteArchive.create(tmp_path / NAME)
    archive.commit(archive.take_over(), [NewLeaf("1-1", b"{}")])
    redis_sync.delete(keys.LEDGER_CHECKPOINT)
    with (
        pytest.raises(LedgerDamaged, match="a checkpoint of 3 was signed"),
        taking(redis_sync, tmp_path, witnesses=[TileFiles(archive, files)]),
    ):
        pass
    archive.close()


def test_a_full_or_closed_directory_stops_nothing(
    redis_sync: redis.Redis, tmp_path: Path, files: Path
) -> None:
    """Files that cannot be written are logged; the log goes on and they come later."""
    plain(redis_sync, 3)
    with taking(redis_sync, tmp_path) as one:
        (tmp_path / "no-directory").touch()
        one.checkpoints._witnesses = [TileFiles(one.archive, tmp_path / "no-directory")]
        one.drain()
        assert one.archive.checkpoint() is not None
        one.checkpoints._witnesses = [TileFiles(one.archive, files)]
        plain(redis_sync, 1)
        one.drain()
    assert len(check(files)) == 4
