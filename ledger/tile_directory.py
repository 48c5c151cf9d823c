"""
Reading the log back from a directory of tiles.

Runs in: CLI. Trusts: nothing in the directory. Refuses: a checkpoint that is none, a file that is
too large or cut off. May import: stdlib, core, ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ledger.merkle import HASH_BYTES
from ledger.notes import Checkpoint
from ledger.tile_files import tile_path
from ledger.tiles import HEIGHT, WIDTH, LedgerDamaged

_MAX_NOTE_BYTES = 100_000
_MAX_BUNDLE_BYTES = WIDTH * (2 + 65_535)


class TileDirectory:
    """The log as its checkpoint `note` names it, of `size` leaves."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.note = self._bytes("checkpoint", _MAX_NOTE_BYTES).decode("utf-8", "replace")
        self.size = Checkpoint.parse(self.note.partition("\n\n")[0] + "\n").size

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile as far as the checkpoint covers it, empty when it is not there."""
        width = min(WIDTH, (self.size >> HEIGHT * level) - number * WIDTH)
        if width <= 0:
            return b""
        return self._tile(str(level), number, width, WIDTH * HASH_BYTES)[: width * HASH_BYTES]

    def entries(self) -> Iterator[bytes]:
        """
        Give the leaves in order, as many as the files have of those the checkpoint names.

        Raises:
            LedgerDamaged: a file is cut off.
        """
        for number in range(-(-self.size // WIDTH)):
            width = min(WIDTH, self.size - number * WIDTH)
            data, at = self._tile("entries", number, width, _MAX_BUNDLE_BYTES), 0
            for _ in range(width if data else 0):
                end = at + 2 + int.from_bytes(data[at : at + 2], "big")
                if end > len(data) or at + 2 > len(data):
                    raise LedgerDamaged(f"the file {tile_path('entries', number)} is cut off")
                yield data[at + 2 : end]
                at = end
            if not data:
                return

    def _tile(self, level: str, number: int, width: int, limit: int) -> bytes:
        # Instead of a part of a tile the whole may be there, written after the checkpoint.
        for name in (tile_path(level, number, width), tile_path(level, number)):
            if (self._directory / name).is_file():
                return self._bytes(name, limit)
        return b""

    def _bytes(self, name: str, limit: int) -> bytes:
        try:
            with (self._directory / name).open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise LedgerDamaged(f"the file {name} cannot be read: {error.strerror}") from None
        if len(data) > limit:
            raise LedgerDamaged(f"the file {name} has more than {limit} bytes")
        return data
