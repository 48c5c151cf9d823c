"""
Filling a batch: items come one by one, are stored in chunks, and never stand all in memory.

An upload that was broken off is gone on with in one of two ways. Whoever sends all items again is
compared with what is there, by a digest over all items so far; whoever knows how many there are
sends the rest.
"""

from __future__ import annotations

import hashlib

from core.errors import Conflict, KeyReused
from runs.batches.items import CHUNK_BYTES, CHUNK_ITEMS, NO_ITEMS, chained, pack_chunk, pack_item
from runs.batches.model import BatchRecord, BatchState, Item
from runs.batches.store import BatchStore, Begun, Piece

_OTHER = "this Idempotency-Key began a batch with other items"
_OTHER_HINT = "send the same items again, or another key"


class Upload:
    """One request that fills a batch. `count` is how many items it has given, or gone past."""

    def __init__(self, store: BatchStore, begun: Begun, *, first: int | None = None) -> None:
        """
        Begin with the item `first`, which must be the next one.

        None: begin with the very first, and compare what comes with what is there.

        Raises:
            Conflict: it has another number of items, or was cancelled before it had all.
        """
        record = begun.record
        if record.status.terminal and record.sealed_ms is None:
            raise Conflict(
                "the batch was cancelled before it had all its items",
                hint="make another one, with another Idempotency-Key",
            )
        self._store = store
        self._record = record
        self._there = record.counts.received
        self._chain_there = begun.chain
        if first is not None and first != self._there:
            raise Conflict(
                f"the batch has {self._there} items, so the next one is item {self._there}",
                hint=f"send what comes after, with from={self._there}",
            )
        self._compares = first is None
        self.count = first or 0
        self._chain = begun.chain if first else NO_ITEMS
        self._clear()

    def _clear(self) -> None:
        self._packed: list[bytes] = []
        self._size_bytes = 0
        self._scripts: dict[str, bytes] = {}
        self._names: list[str | None] = []

    async def add(self, item: Item) -> None:
        """
        Take the next item.

        Raises:
            KeyReused: the batch has another item at this place.
            Conflict: it has all its items, or others than this request has sent.
            NotFound, TooLarge, QuotaExceeded, Unavailable: as `BatchStore.append`.
        """
        packed = pack_item(item)
        self._chain = chained(self._chain, packed)
        self.count += 1
        if self.count <= self._there:
            if self.count == self._there and self._chain != self._chain_there:
                raise KeyReused(_OTHER, hint=_OTHER_HINT)
            return
        if self._record.status is not BatchState.UPLOADING:
            if not self._compares:
                raise Conflict("the batch takes no more items", hint="make another one")
            raise KeyReused(_OTHER, hint=_OTHER_HINT)
        self._packed.append(packed)
        self._size_bytes += len(packed)
        self._names.append(item.id)
        if item.script is not None:
            digest = hashlib.sha256(item.script).hexdigest()
            if digest not in self._scripts:
                self._scripts[digest] = item.script
                self._size_bytes += len(item.script)
        if len(self._packed) >= CHUNK_ITEMS or self._size_bytes >= CHUNK_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Store what was taken so far. Raises: as `add`."""
        if not self._packed:
            return
        piece = Piece(
            first=self.count - len(self._packed),
            count=len(self._packed),
            size_bytes=self._size_bytes,
            chain=self._chain,
            chunk=pack_chunk(self._packed),
            scripts=list(self._scripts.items()),
            names=self._names,
        )
        await self._store.append(self._record.tenant, self._record.id, piece)
        self._clear()

    async def seal(self) -> BatchRecord:
        """
        Say that these were all: the batch starts, if it has not before.

        Raises:
            KeyReused: the batch has more items than were given. Invalid: it has none.
            Conflict, NotFound, TooLarge, QuotaExceeded, Unavailable: as `add`.
        """
        await self.flush()
        if self.count < self._there:
            raise KeyReused(_OTHER, hint=_OTHER_HINT)
        if self._record.status is not BatchState.UPLOADING:
            return await self._store.get(self._record.tenant, self._record.id)
        return await self._store.seal(self._record.tenant, self._record.id, self.count)
