"""What is kept of a run that waits: what for, until when, and what it did so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from integrations.waits import Wait
from runs.endings import Ending
from sandbox.outcome import Fault, Reason, Usage


@dataclass(frozen=True, slots=True)
class Suspension:
    """
    One attempt that was let go while its script waits. Nothing ended: the tape goes on later.

    `calls`, `output` and `usage` are those of the run so far.
    """

    waits: Sequence[Wait]
    usage: Usage = field(default_factory=Usage)
    output: str = ""
    calls: Sequence[dict[str, Any]] = ()

    @property
    def due_ms(self) -> int:
        """Give the time at which it goes on in any case, Unix milliseconds; 0: at once."""
        return min((one.until_ms for one in self.waits), default=0)

    def cancelled(self) -> Ending:
        """Give the end of a run that somebody cancelled just when it came to wait."""
        return Ending(
            Reason.CANCELLED,
            usage=self.usage,
            output=self.output,
            error=Fault("cancelled on request while it waited"),
            calls=self.calls,
        )


def waits_json(waits: Sequence[Wait]) -> bytes:
    """Give what a run waits for as its record shows it."""
    rows = [{"for": one.kind, "until_ms": one.until_ms, "call": one.seq} for one in waits]
    return orjson.dumps(rows)


def usage_json(usage: Usage) -> bytes:
    """Give what a run used so far, without what only its end tells."""
    known = {name: count for name, count in usage.to_json().items() if count}
    return orjson.dumps(known)


def question_json(wait: Wait) -> bytes:
    """Give an approval as it is stored, by the number of its call, until it is answered."""
    asked = wait.question.to_json() if wait.question is not None else {}
    return orjson.dumps({**asked, "asked_ms": wait.began_ms, "until_ms": wait.until_ms})
