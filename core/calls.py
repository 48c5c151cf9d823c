"""The record of one call, as results, events and tapes show it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class EffectClass(StrEnum):
    """Whether a function may change something outside."""

    READ = "read"
    WRITE = "write"


class Effect(StrEnum):
    """
    What a call did. `unknown`: it was sent and no answer came; it is never sent again.

    `planned`: nothing was sent; the run only plans, and the answer was made up.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DENIED = "denied"
    UNKNOWN = "unknown"
    PLANNED = "planned"


class CallRecord(BaseModel):
    """One call of a run. `seq` counts from 1; `name` is `mux.list_assets`."""

    model_config = ConfigDict(frozen=True)

    seq: int
    name: str
    account: str | None
    effect_class: EffectClass
    effect: Effect
    duration_ms: int

    def to_json(self) -> dict[str, Any]:
        """Give the record as one element of a result's `calls`."""
        return self.model_dump(mode="json")
