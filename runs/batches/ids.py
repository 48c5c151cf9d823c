"""The ids of a batch's runs, which follow from the batch's id and the index of the item."""

from __future__ import annotations

import hashlib

from core.ids import id_of
from runs.batches.model import MAX_ITEMS

_INDEX_BITS = 17
assert 1 << _INDEX_BITS >= MAX_ITEMS  # noqa: S101 (two items must not share an id)


class RunIds:
    """
    Gives the id of each item's run.

    Of the 80 bits that are random in other ids, 63 are a digest of the batch's id and 17 the index:
    whoever feeds an item twice names the same run, and runs are listed in the order of items.
    """

    def __init__(self, batch_id: str, created_ms: int) -> None:
        digest = hashlib.sha256(batch_id.encode()).digest()
        self._base = int.from_bytes(digest[:8], "big") >> 1 << _INDEX_BITS
        self._created_ms = created_ms

    def of(self, index: int) -> str:
        """Give the id of the run of item `index`, from 0."""
        return id_of("run", self._created_ms, self._base | index)
