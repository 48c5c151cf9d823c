"""Bodies of batches as NDJSON."""

from __future__ import annotations

NDJSON = {"Content-Type": "application/x-ndjson"}
HEADER = b'{"batch":{"script":"return input","concurrency":4}}\n'


def lines(count: int) -> bytes:
    """Give items, one a line, whose inputs count from 0."""
    return b"".join(b'{"id":"i%d","input":%d}\n' % (number, number) for number in range(count))
