"""How the end of a run is written: the tape's last entry and the record's fields."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from core.plans import Plan
from runs.model import State
from sandbox.outcome import Fault, Reason, Usage


@dataclass(frozen=True, slots=True)
class Ending:
    """
    How one attempt ended, in the bytes that are stored: nothing is parsed on the way.

    `result` is JSON text. `calls` are JSON objects, one a call, in order. `sent` counts the
    external calls that were begun: a refused call is none. `surface_sha256` is the digest of what
    the script saw. `resumable`: it ended by a fault of ours, and may go on over its tape;
    `put_off`: it does so when Redis takes writes again, and did not lose its worker. `plan` is
    what the run planned, or was held to; `applied` how many writes of the latter succeeded.
    """

    reason: Reason
    usage: Usage = field(default_factory=Usage)
    result: bytes = b"null"
    output: str = ""
    error: Fault | None = None
    calls: Sequence[dict[str, Any]] = ()
    sent: int = 0
    surface_sha256: str | None = None
    resumable: bool = False
    put_off: bool = False
    plan: Plan | None = None
    applied: int | None = None

    @property
    def state(self) -> State:
        """Give the state that the run is in from now on."""
        return state_of(self.reason)


def state_of(reason: Reason) -> State:
    """Map a reason to the state a run ends in."""
    if reason is Reason.OK:
        return State.SUCCEEDED
    if reason in {Reason.CANCELLED, Reason.EXPIRED}:
        return State.CANCELLED
    return State.FAILED


def tape_body(ending: Ending, attempt: int, versions: Mapping[str, str] | None = None) -> bytes:
    """
    Write the body of the tape's `finished` entry: digests of what is too big for a tape.

    `versions` says what it was executed with; None when it was not.
    """
    planned: dict[str, Any] = {} if ending.plan is None else {"plan_sha256": ending.plan.digest}
    if ending.applied is not None:
        planned["applied"] = ending.applied
    return orjson.dumps(
        planned
        | {
            "reason": ending.reason,
            "attempt": attempt,
            "result_sha256": hashlib.sha256(ending.result).hexdigest(),
            "output_sha256": hashlib.sha256(ending.output.encode()).hexdigest(),
            "error": error_json(ending),
            "surface_sha256": ending.surface_sha256,
            "usage": ending.usage.to_json(),
            "versions": versions,
        }
    )


def record_fields(ending: Ending) -> list[str | bytes]:
    """Give the fields and values that the run's record gets."""
    fields: dict[str, str | bytes] = {
        "result": ending.result,
        "output": ending.output,
        "calls": orjson.dumps(list(ending.calls)),
        "usage": orjson.dumps(ending.usage.to_json()),
        "error": orjson.dumps(error_json(ending)) if ending.error else "",
    }
    if ending.applied is not None:
        fields["applied"] = str(ending.applied)
    elif ending.plan is not None:
        fields |= {"plan": ending.plan.text(), "plan_sha256": ending.plan.digest}
    return [part for pair in fields.items() for part in pair]


def error_json(ending: Ending) -> dict[str, Any] | None:
    """Give the error object, None when there is none."""
    return ending.error.to_json() if ending.error else None


def cancelled_while_queued() -> tuple[bytes, bytes]:
    """Give the tape body and the error of a run that was cancelled before it began."""
    fault = Fault("cancelled on request before it began; nothing was called")
    ending = Ending(Reason.CANCELLED, error=fault)
    return tape_body(ending, attempt=0), orjson.dumps(error_json(ending))
