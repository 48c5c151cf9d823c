"""
The closed list of reasons for which a run can end.

Runs in: supervisor, child, worker, api (vocabulary). Trusts: nobody. Refuses: a reason not on the
list. May import: stdlib. A module of its own because a zygote loads it: see
tests/unit/test_thin_zygote.py.
"""

from __future__ import annotations

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
