"""What both clients ask the HTTP API about stopping many runs, and how they read its answer."""

from __future__ import annotations

from typing import TypedDict

from moonsand.exchange import Ask
from runs.model import CancelledRuns, Priority, State


class CancelOptions(TypedDict, total=False):
    """Which runs to stop: those that are all of this; of all runs of the tenant without any."""

    state: list[State]
    priority: Priority
    name: str
    script_ref: str
    origin_id: str


def cancel_runs(options: CancelOptions) -> Ask[CancelledRuns]:
    """Ask for the end of many runs."""
    named = {name: value for name, value in options.items() if value is not None}
    body = named or {"all": True}
    read = CancelledRuns.model_validate
    return Ask("POST", "/v1/runs/cancel", read, json=body, timeout_s=120.0)
