"""
The log in the layout of C2SP tlog-tiles, beside the journal it is made of.

Runs in: sequencer. Trusts: the archive. Refuses: to put other bytes in the place of a tile that is
there. May import: stdlib, core, ledger.

The bytes of a tile follow from the leaves alone. Whoever puts one again, after a crash or beside
another sequencer, puts the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from core.errors import Unavailable
from ledger.merkle import HASH_BYTES
from ledger.tile_files import changed_tiles, tile_path
from ledger.tiles import WIDTH

if TYPE_CHECKING:
    from ledger.archive import ArchiveReader
    from ledger.objects import ObjectStore

_LENGTH_BYTES = 2
_AT_ONCE = 32


class ObjectTiles:
    """Tiles and bundles of leaves of one archive."""

    def __init__(self, store: ObjectStore, archive: ArchiveReader) -> None:
        self._store = store
        self._archive = archive

    def write(self, old: int, new: int) -> None:
        """Put what the tree of `new` leaves has and that of `old` leaves has not."""
        objects: dict[str, bytes] = {}
        full: list[str] = []
        for level, number, width in changed_tiles(old, new):
            data = self._archive.tile(level, number)[: width * HASH_BYTES]
            objects[tile_path(str(level), number, width)] = data
            full += [tile_path(str(level), number)] * (width == WIDTH)
        bundle: list[bytes] = []
        for found in self._archive.leaves(old - old % WIDTH):
            if found.index >= new:
                break
            bundle.append(len(found.data).to_bytes(_LENGTH_BYTES, "big") + found.data)
            if len(bundle) == WIDTH or found.index == new - 1:
                name = tile_path("entries", found.index // WIDTH, len(bundle))
                objects[name] = b"".join(bundle)
                full += [name] * (len(bundle) == WIDTH)
                bundle = []
            if len(objects) >= _AT_ONCE:
                self._store.create_all(objects)
                objects = {}
        self._store.create_all(objects)
        self._forget_parts(full)

    def _forget_parts(self, full: list[str]) -> None:
        # The layout lets parts go when the whole is there; a store that keeps them does no harm.
        try:
            for name in full:
                self._store.delete(list(self._store.names(f"{name}.p/")))
        except Unavailable as error:
            structlog.get_logger(__name__).info("tile_parts_left", detail=error.detail)
