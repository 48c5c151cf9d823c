"""
The ceilings that one run is given, held to their ranges.

Runs in: supervisor, child, api (vocabulary). Trusts: nobody. Refuses: a value out of range.
May import: stdlib, sandbox.limit_specs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from sandbox.limit_specs import KIB, MIB, SPECS, LimitSpec

__all__ = ["KIB", "MIB", "SPECS", "LimitOutOfRange", "LimitSpec", "Limits", "check_limit"]


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
