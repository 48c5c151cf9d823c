"""
How a run ended: what is reported with its reason.

Runs in: supervisor, worker, api (vocabulary). Trusts: nobody. Refuses: nothing.
May import: stdlib, sandbox.reasons.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.reasons import CLAIMABLE, OUR_FAULT, Reason

__all__ = ["CLAIMABLE", "OUR_FAULT", "Fault", "Outcome", "Reason", "Usage"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong, for a model and a person: no secret, host path or other tenant's id."""

    message: str
    line: int | None = None
    hint: str | None = None

    def to_json(self) -> dict[str, str | int | None]:
        """Give the fault as the `error` object of a result."""
        return {"message": self.message, "line": self.line, "hint": self.hint}


@dataclass(frozen=True, slots=True)
class Usage:
    """
    What a run used.

    `cpu_ms`, `wall_ms`, `output_bytes` and `calls` are measured by the parent;
    `instructions` and `memory_bytes` (peak Lua heap) are counted in the child.
    """

    instructions: int = 0
    memory_bytes: int = 0
    cpu_ms: int = 0
    wall_ms: int = 0
    output_bytes: int = 0
    calls: int = 0

    def to_json(self) -> dict[str, int]:
        """Give the usage as the `usage` object of a result."""
        return {
            "instructions": self.instructions,
            "memory_bytes": self.memory_bytes,
            "cpu_ms": self.cpu_ms,
            "wall_ms": self.wall_ms,
            "output_bytes": self.output_bytes,
            "calls": self.calls,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How one script's execution ended, as the supervisor judged it.

    `result` is JSON text (`b"null"` unless `reason` is `ok`): the return value, or a JSON list
    when the script returned several. `output` is the printed text, control characters escaped.
    `answered_us` is the time from the lease of the child to its last frame, or to its death.
    `suspended`: the script has not ended; its child was let go while it waited for parked calls,
    and `reason` says nothing.
    """

    reason: Reason
    usage: Usage
    result: bytes = b"null"
    output: str = ""
    error: Fault | None = None
    answered_us: int = 0
    suspended: bool = False
