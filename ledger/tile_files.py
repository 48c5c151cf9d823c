"""
The log as a directory of write-once files, in the layout of C2SP tlog-tiles.

Runs in: sequencer. Trusts: the archive. Refuses: to put another file in the place of one that is
there. May import: stdlib, core, ledger.

It is written from the archive before each checkpoint is, so that `checkpoint` never names a leaf
that is not there; what a crash left out comes with the next one. Any file server or object store
can give it away, and any tool for tiles read it: full tiles never change, a part of one has its
width in its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from core.errors import Invalid
from ledger.merkle import HASH_BYTES
from ledger.notes import Checkpoint
from ledger.tiles import HEIGHT, WIDTH, LedgerDamaged

if TYPE_CHECKING:
    from ledger.archive import ArchiveReader

_CHECKPOINT = "checkpoint"
_MAX_BYTES = 100_000
_LENGTH_BYTES = 2


class TileFiles:
    """One directory. As a witness it is told of every checkpoint, and keeps the newest."""

    def __init__(self, archive: ArchiveReader, directory: Path) -> None:
        self._archive = archive
        self._directory = directory
        self._written: int | None = None

    def push(self, size: int, note: str) -> None:
        """Write what is missing of the tree of `size` leaves, then the checkpoint."""
        try:
            for level, number, width in changed_tiles(self._known(), size):
                self._put(tile_path(str(level), number, width), self._tile(level, number, width))
            for _, number, width in changed_tiles(self._known(), size, levels=1):
                self._put(tile_path("entries", number, width), self._entries(number, width))
            self._replace(_CHECKPOINT, note.encode())
            self._written = size
        except OSError as error:
            structlog.get_logger(__name__).error("tiles_failed", error=error.strerror)

    def newest(self) -> str | None:
        """Give the checkpoint that is there."""
        try:
            with (self._directory / _CHECKPOINT).open("rb") as file:
                return file.read(_MAX_BYTES).decode("utf-8", "replace")
        except OSError:
            return None

    # --- parts ---------------------------------------------------------------------------------

    def _known(self) -> int:
        """Give how many leaves the files are known to have."""
        if self._written is None:
            note = self.newest() or ""
            try:
                self._written = Checkpoint.parse(note.partition("\n\n")[0] + "\n").size
            except Invalid:
                self._written = 0
        return self._written

    def _tile(self, level: int, number: int, width: int) -> bytes:
        data = self._archive.tile(level, number)[: width * HASH_BYTES]
        if len(data) != width * HASH_BYTES:
            raise LedgerDamaged(f"tile {number} of level {level} is too short in the archive")
        return data

    def _entries(self, number: int, width: int) -> bytes:
        parts: list[bytes] = []
        for found in self._archive.leaves(number * WIDTH):
            if len(parts) == width:
                break
            parts.append(len(found.data).to_bytes(_LENGTH_BYTES, "big") + found.data)
        return b"".join(parts)

    def _put(self, name: str, data: bytes) -> None:
        target = self._directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary(target, data)
        try:
            os.link(temporary, target)
        except FileExistsError:
            if target.read_bytes() != data:
                raise LedgerDamaged(f"the file {name} is there with other bytes") from None
        finally:
            temporary.unlink()
        if not name.endswith(f".p/{target.name}"):
            self._forget_parts(target)

    def _forget_parts(self, target: Path) -> None:
        # The layout lets parts go when the whole is there; a store that keeps them does no harm.
        parts = target.with_name(f"{target.name}.p")
        with suppress(OSError):
            for one in parts.iterdir():
                one.unlink()
            parts.rmdir()

    def _replace(self, name: str, data: bytes) -> None:
        target = self._directory / name
        self._temporary(target, data).replace(target)

    def _temporary(self, target: Path, data: bytes) -> Path:
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return temporary


def tile_path(level: str, number: int, width: int = WIDTH) -> str:
    """
    Give the path of a tile: `tile/0/x001/x234/067`, and `tile/0/001.p/5` for its first 5 entries.

    `level` is a number or `entries`.
    """
    groups = [f"{number % 1000:03}"]
    while number >= 1000:
        number //= 1000
        groups.append(f"x{number % 1000:03}")
    path = f"tile/{level}/{'/'.join(reversed(groups))}"
    return path if width == WIDTH else f"{path}.p/{width}"


def changed_tiles(old: int, new: int, levels: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Give level, number and width of each tile that the tree of `new` leaves has anew."""
    level = 0
    while new >> HEIGHT * level and (levels is None or level < levels):
        before, after = old >> HEIGHT * level, new >> HEIGHT * level
        for number in range(before // WIDTH, -(-after // WIDTH)):
            width = min(WIDTH, after - number * WIDTH)
            if number * WIDTH + width > before:
                yield level, number, width
        level += 1
