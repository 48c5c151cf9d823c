"""What the routes of runs answer, beside the record of a run itself."""

from __future__ import annotations

from pydantic import BaseModel

from runs.model import RunError, State, UsageRecord
from sandbox.outcome import Reason

#: What a list leaves out of each record: any of these may be megabytes long.
LONG_FIELDS = frozenset({"result", "output", "calls"})


class RunSummary(BaseModel):
    """One run in a list: its record without `result`, `output` and `calls`."""

    id: str
    status: State
    reason: Reason | None = None
    error: RunError | None = None
    usage: UsageRecord
    tenant: str
    name: str
    script_sha256: str
    limits: dict[str, int]
    grants: list[str] | None = None
    seed: int
    attempt: int
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None


class RunPage(BaseModel):
    """One page of a list, newest first; `next_cursor` gives the next page."""

    data: list[RunSummary]
    next_cursor: str | None
    has_more: bool
