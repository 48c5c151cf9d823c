"""
The tree in tiles of 256 hashes, as C2SP tlog-tiles lays them out.

Runs in: sequencer, api, CLI. Trusts: the tiles it is given. Refuses: a tile that is too short.
May import: stdlib, core, ledger.

Tile (level, n) holds the hashes of the subtrees of 256**level leaves with numbers 256 n to
256 n + 255, each 32 bytes; the last one of a level may hold fewer. Levels above follow from the
ones below, so that appending touches the last tile of each level only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.errors import Broken
from ledger.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    Span,
    consistency_spans,
    inclusion_spans,
    node_hash,
    split,
)

HEIGHT = 8
WIDTH = 1 << HEIGHT
FULL_BYTES = WIDTH * HASH_BYTES

TileId = tuple[int, int]
ReadTile = Callable[[int, int], bytes]


class LedgerDamaged(Broken):
    """The archive is not what it was: something was changed, cut off or lost."""


class Edge:
    """The last tile of every level, which is all that appending needs. `size` counts leaves."""

    def __init__(self, size: int, read: ReadTile) -> None:
        self.size = size
        self._tiles: list[bytearray] = []
        entries, level = size, 0
        while entries:
            part = entries % WIDTH
            data = read(level, entries // WIDTH) if part else b""
            self._tiles.append(bytearray(_cut(data, part, level, entries // WIDTH)))
            entries, level = entries >> HEIGHT, level + 1

    def append(self, hashes: Sequence[bytes]) -> dict[TileId, bytes]:
        """Append leaves by their hashes; give every tile that is new or longer now."""
        changed: dict[TileId, bytes] = {}
        for one in hashes:
            self._push(0, self.size, one, changed)
            self.size += 1
        for level, tile in enumerate(self._tiles):
            if tile:
                changed[level, (self.size >> HEIGHT * level) // WIDTH] = bytes(tile)
        return changed

    def root(self) -> bytes:
        """Give the root of the tree as it is now."""
        return span_hash(self._read, (0, self.size)) if self.size else EMPTY_ROOT

    def _push(self, level: int, number: int, found: bytes, changed: dict[TileId, bytes]) -> None:
        if level == len(self._tiles):
            self._tiles.append(bytearray())
        tile = self._tiles[level]
        tile += found
        if len(tile) == FULL_BYTES:
            full = bytes(tile)
            changed[level, number // WIDTH] = full
            tile.clear()
            self._push(level + 1, number // WIDTH, _reduce(full), changed)

    def _read(self, level: int, _number: int) -> bytes:
        return bytes(self._tiles[level])


def span_hash(read: ReadTile, span: Span) -> bytes:
    """
    Give the hash of a span, one that the functions of `ledger.merkle` name.

    Raises:
        LedgerDamaged: a tile does not hold what it has to.
    """
    start, end = span
    size = end - start
    if size & (size - 1) == 0:
        return _subtree(read, size.bit_length() - 1, start)
    middle = start + split(size)
    return node_hash(span_hash(read, (start, middle)), span_hash(read, (middle, end)))


def root_at(read: ReadTile, size: int) -> bytes:
    """Give the root that the tree had at `size` leaves."""
    return span_hash(read, (0, size)) if size else EMPTY_ROOT


def prove_inclusion(read: ReadTile, index: int, size: int) -> list[bytes]:
    """Give the proof that leaf `index` is in the tree of `size` leaves."""
    return [span_hash(read, span) for span in inclusion_spans(index, size)]


def prove_consistency(read: ReadTile, old: int, new: int) -> list[bytes]:
    """Give the proof that the tree of `old` leaves is the beginning of that of `new`."""
    return [span_hash(read, span) for span in consistency_spans(old, new)]


def _subtree(read: ReadTile, height: int, start: int) -> bytes:
    level, rest = divmod(height, HEIGHT)
    first = start >> HEIGHT * level  # number of the first entry, of 1 << rest, at this level
    number, place = divmod(first, WIDTH)
    data = _cut(read(level, number), place + (1 << rest), level, number)
    return _reduce(data[place * HASH_BYTES :])


def _cut(data: bytes, entries: int, level: int, number: int) -> bytes:
    if len(data) < entries * HASH_BYTES:
        raise LedgerDamaged(
            f"tile {number} of level {level} has {len(data) // HASH_BYTES} hashes, not {entries}"
        )
    return data[: entries * HASH_BYTES]


def _reduce(data: bytes) -> bytes:
    hashes = [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
    while len(hashes) > 1:
        hashes = [node_hash(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
    return hashes[0]
