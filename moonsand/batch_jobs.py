"""A file of jobs: one item a line, and perhaps a first line `{"batch": {...}}` with terms."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from moonsand.exits import UsageFault
from runs.batches.model import MAX_ITEMS
from sandbox.limits import MIB

#: Items that are sent in one request, and about how many bytes.
_SENT_ITEMS = 2_000
_SENT_BYTES = 4 * MIB
_MAX_LINE_BYTES = 8 * MIB
#: How the service names a line of a request.
_LINE = re.compile(r"\bline (\d+)(?=:| has more)")


@dataclass(frozen=True, slots=True)
class Jobs:
    """A file that was looked through once; `terms` are those of its first line."""

    path: Path
    count: int
    sha256: str
    terms: dict[str, Any]

    @classmethod
    def of(cls, path: Path) -> Jobs:
        """
        Look through a file; what its items say is checked by the service.

        Raises:
            UsageFault: it cannot be read, has no items, too many, or a line longer than any item.
        """
        digest, count = hashlib.sha256(), 0
        terms: dict[str, Any] | None = None
        for number, line in _lines(path):
            digest.update(line)
            if terms is None:
                terms = _terms_of(line, f"{path} line {number}")
                count += terms is None
                terms = terms or {}
            else:
                count += 1
        if not count:
            raise UsageFault(f"{path} has no items: it needs one JSON object a line")
        if count > MAX_ITEMS:
            raise UsageFault(f"{path} has {count} items; a batch has at most {MAX_ITEMS}")
        return cls(path, count, digest.hexdigest(), terms or {})

    def pieces(self, first: int) -> Iterator[tuple[int, list[bytes]]]:
        """
        Give the items from index `first` on, as many at once as are sent in one request.

        Each piece comes with the index of its first item.

        Raises:
            UsageFault: the file cannot be read any more.
        """
        index, piece, size_bytes = -self._has_terms(), [], 0
        for _, line in _lines(self.path):
            if index >= first:
                piece.append(line)
                size_bytes += len(line)
            index += 1
            if len(piece) == _SENT_ITEMS or size_bytes >= _SENT_BYTES:
                yield index - len(piece), piece
                piece, size_bytes = [], 0
        if piece:
            yield index - len(piece), piece

    def in_file(self, told: str, first: int) -> str:
        """
        Put this file's lines into a message about lines of a piece that begins with item `first`.

        Raises:
            UsageFault: the file cannot be read any more.
        """
        named = _LINE.search(told)
        if named is None:
            return told
        place = self._has_terms() + first + int(named[1]) - 1
        found = next(islice(_lines(self.path), place, None), None)
        if found is None:
            return told
        return f"{told[: named.start(1)]}{found[0]}{told[named.end(1) :]}"

    def _has_terms(self) -> int:
        _, line = next(_lines(self.path))
        return int(_terms_of(line, str(self.path)) is not None)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Give the lines that are not empty, without their ends, each with its number."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > _MAX_LINE_BYTES:
                    raise UsageFault(f"{path} line {number} has more than {_MAX_LINE_BYTES} bytes")
                if text := line.strip():
                    yield number, text
    except OSError as error:
        raise UsageFault(f"cannot read {path}: {error.strerror or error}") from None


def _terms_of(line: bytes, where: str) -> dict[str, Any] | None:
    if b'"batch"' not in line:
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None  # the service says what is wrong with it
    if not isinstance(value, dict) or "batch" not in value:
        return None
    if len(value) > 1 or not isinstance(value["batch"], dict):
        raise UsageFault(f'{where} must be {{"batch": {{...}}}} and nothing else')
    return dict(value["batch"])
