"""Every benchmark, one table: `make bench`, or `python -m benchmarks [sandbox|service]`."""

from __future__ import annotations

import asyncio
import sys

from benchmarks import figures
from benchmarks.figures import Row


async def _run(wanted: list[str]) -> list[Row]:
    rows: list[Row] = []
    if not wanted or "sandbox" in wanted:
        from benchmarks import sandbox  # noqa: PLC0415 (each part needs only its own peer)

        rows += await sandbox.latency()
        rows += await sandbox.saturation()
    if not wanted or "service" in wanted:
        from benchmarks import service  # noqa: PLC0415

        rows += await service.http_latency()
        rows += await service.throughput()
    return rows


if __name__ == "__main__":
    figures.show(asyncio.run(_run(sys.argv[1:])))
