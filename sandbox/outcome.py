"""
How a run can end: the closed list of reasons, and what is reported with one.

Runs in: supervisor, worker, api (vocabulary). Trusts: nobody. Refuses: a reason not on the list.
May import: stdlib.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a run ended. The API, docs, metrics and console use these words and no others."""

    OK = "ok"
    SCRIPT_ERROR = "script_error"
    SYNTAX_ERROR = "syntax_error"
    INSTRUCTION_LIMIT = "instruction_limit"
    MEMORY_LIMIT = "memory_limit"
    CPU_LIMIT = "cpu_limit"
    WALL_LIMIT = "wall_limit"
    OUTPUT_LIMIT = "output_limit"
    CALL_LIMIT = "call_limit"
    RESULT_LIMIT = "result_limit"
    INVALID_RESULT = "invalid_result"
    DENIED = "denied"
    EFFECT_UNKNOWN = "effect_unknown"
    DIVERGED = "diverged"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    CRASHED = "crashed"
    PROTOCOL_VIOLATION = "protocol_violation"
    WORKER_LOST = "worker_lost"
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"
    INTERNAL = "internal"


#: What a child may say of its own end. Everything else is only ever seen from outside.
CLAIMABLE: frozenset[Reason] = frozenset(
    {
        Reason.SCRIPT_ERROR,
        Reason.SYNTAX_ERROR,
        Reason.INSTRUCTION_LIMIT,
        Reason.MEMORY_LIMIT,
        Reason.OUTPUT_LIMIT,
        Reason.CALL_LIMIT,
        Reason.RESULT_LIMIT,
        Reason.INVALID_RESULT,
        Reason.DENIED,
        Reason.EXPIRED,
    }
)

#: Our fault or the host's, not the script's: `moonsand run` exits 3, RQ's job fails.
OUR_FAULT: frozenset[Reason] = frozenset(
    {Reason.WORKER_LOST, Reason.SANDBOX_UNAVAILABLE, Reason.INTERNAL}
)


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
