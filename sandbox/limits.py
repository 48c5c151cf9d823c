"""
Every ceiling of one run, with its unit, default, range and the reason it ends a run with.

Runs in: supervisor, child, api (vocabulary). Trusts: nobody. Refuses: a value out of range.
May import: stdlib.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class LimitSpec:
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


class LimitOutOfRange(ValueError):
    """A limit was asked for that is unknown or out of its range."""


@dataclass(frozen=True, slots=True)
class Limits:
    """
    The ceilings of one run.

    Units stand in the names; `depth` counts levels, `calls` and `instructions` count.
    """

    instructions: int = SPECS["instructions"].default
    memory_bytes: int = SPECS["memory_bytes"].default
    cpu_ms: int = SPECS["cpu_ms"].default
    wall_ms: int = SPECS["wall_ms"].default
    output_bytes: int = SPECS["output_bytes"].default
    result_bytes: int = SPECS["result_bytes"].default
    depth: int = SPECS["depth"].default
    calls: int = SPECS["calls"].default
    reply_bytes: int = SPECS["reply_bytes"].default
    script_bytes: int = SPECS["script_bytes"].default
    input_bytes: int = SPECS["input_bytes"].default

    def __post_init__(self) -> None:
        for field in fields(self):
            check_limit(field.name, getattr(self, field.name))

    def to_json(self) -> dict[str, int]:
        """Give the limits as a JSON object, one integer a name."""
        return {name: getattr(self, name) for name in SPECS}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Self:
        """
        Take limits from a JSON object; names left out keep their defaults.

        Raises:
            LimitOutOfRange: for an unknown name, a value that is no integer, or one out of range.
        """
        for name, value in given.items():
            check_limit(name, value)
        return cls(**given)


def check_limit(name: str, value: object) -> None:
    """
    Refuse a limit that is unknown or out of its range.

    Raises:
        LimitOutOfRange: the message names the limit, the value and the range.
    """
    spec = SPECS.get(name)
    if spec is None:
        raise LimitOutOfRange(f"unknown limit {name!r}; known limits: {', '.join(SPECS)}")
    if not isinstance(value, int) or isinstance(value, bool):
        raise LimitOutOfRange(f"limit {name} must be a whole number of {spec.unit}")
    if not spec.minimum <= value <= spec.maximum:
        raise LimitOutOfRange(
            f"limit {name} must be {spec.minimum} to {spec.maximum} {spec.unit}, not {value}"
        )
