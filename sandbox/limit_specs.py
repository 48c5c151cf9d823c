"""
Every ceiling of one run: its unit, default, range and what it bounds.

Runs in: supervisor, zygote, child, api (vocabulary). Trusts: nobody. Refuses: nothing, it only
tells. May import: stdlib. A module of its own because a zygote loads it: see
tests/unit/test_thin_zygote.py.
"""

from __future__ import annotations

from typing import NamedTuple

KIB = 1024
MIB = 1024 * KIB


class LimitSpec(NamedTuple):
    """What is known of one limit: its unit, its range, and the words that explain it."""

    unit: str
    default: int
    minimum: int
    maximum: int
    meaning: str


SPECS: dict[str, LimitSpec] = {
    "instructions": LimitSpec(
        "instructions", 100_000_000, 1_000, 2_000_000_000, "Lua VM instructions, charges included"
    ),
    "memory_bytes": LimitSpec("bytes", 32 * MIB, 2 * MIB, 256 * MIB, "heap of the Lua state"),
    "cpu_ms": LimitSpec("ms", 5_000, 10, 60_000, "processor time of the child process"),
    "wall_ms": LimitSpec("ms", 60_000, 50, 3_600_000, "time from start to result, waits included"),
    "output_bytes": LimitSpec("bytes", 256 * KIB, 0, 10 * MIB, "printed text"),
    "result_bytes": LimitSpec("bytes", 1 * MIB, 16, 8 * MIB, "JSON text of the return value"),
    "depth": LimitSpec("levels", 64, 1, 128, "nesting of any JSON value that crosses the boundary"),
    "calls": LimitSpec("calls", 200, 0, 10_000, "calls to integrations and docs"),
    "reply_bytes": LimitSpec("bytes", 4 * MIB, 1 * KIB, 16 * MIB, "JSON text of one reply"),
    "script_bytes": LimitSpec("bytes", 256 * KIB, 1, 256 * KIB, "Lua source text"),
    "input_bytes": LimitSpec("bytes", 1 * MIB, 4, 1 * MIB, "JSON text of the input"),
}
