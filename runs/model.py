"""A run as it is stored and shown: its request, states and record."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.calls import CallRecord
from core.plans import Mode, Plan
from runs.origin import Origin
from sandbox.outcome import Reason

OnUnknown = Literal["fail", "raise"]
Decision = Literal["approve", "deny"]


class State(StrEnum):
    """Where a run is. States only move right, `waiting` aside."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Tell whether nothing more will happen."""
        return self in {State.SUCCEEDED, State.FAILED, State.CANCELLED}


class Priority(StrEnum):
    """Which of its tenant's runs go first; others are not concerned."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class RunRequest(BaseModel):
    """
    What a client asks for, after its key was turned into a tenant.

    `limits` holds only what differs from the defaults; `grants` are rules such as `mux:read`,
    None for all that the tenant and the key have. `force` skips the questions that rules about
    reading or writing ask. `seed` is chosen by us when absent. `on_unknown` tells what becomes of a
    call of which nobody knows whether it was done: it ends the run, or is the script's error. With
    `mode` `plan` writes are only listed; `apply` makes those of an approved plan, whose run is
    `plan`, and takes script and input from there. `script_ref` names a saved script in place of
    `script`: `name`, `name@version` or `name@alias`. `expires_at`, RFC 3339: if nobody has begun to
    execute the run by then, it ends as `expired`. `callback` is who is told of its end: the
    id of an endpoint of the tenant, which nobody checks below the API.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    script: str = ""
    script_ref: str | None = None
    input: Any = None
    limits: dict[str, int] = Field(default_factory=dict)
    grants: list[str | dict[str, Any]] | None = None
    force: bool = False
    seed: int | None = Field(default=None, ge=0, le=2**63 - 1)
    name: str = "script"
    on_unknown: OnUnknown = "fail"
    mode: Mode = Mode.RUN
    plan: str | None = None
    priority: Priority = Priority.NORMAL
    expires_at: str | None = None
    callback: str | None = None


class RunError(BaseModel):
    """Why a run failed, for a model and a person."""

    message: str
    line: int | None = None
    hint: str | None = None


class UsageRecord(BaseModel):
    """What a run used. Units stand in the names."""

    instructions: int = 0
    memory_bytes: int = 0
    cpu_ms: int = 0
    wall_ms: int = 0
    output_bytes: int = 0
    calls: int = 0


class RunResult(BaseModel):
    """
    The shape that `moonsand run --json` prints and the API embeds.

    `plan` is what the run planned, or the plan it was held to; `applied` tells how many writes of
    the latter have succeeded.
    """

    id: str
    mode: Mode = Mode.RUN
    status: State
    reason: Reason | None = None
    result: Any = None
    output: str = ""
    error: RunError | None = None
    calls: list[CallRecord] = Field(default_factory=list)
    usage: UsageRecord = Field(default_factory=UsageRecord)
    plan: Plan | None = None
    applied: int | None = None


class CancelledRuns(BaseModel):
    """What became of many runs that were to be cancelled."""

    ended: int = Field(default=0, description="Runs that ended as `cancelled` now.")
    stopping: int = Field(
        default=0, description="Running ones whose workers were asked to end them."
    )
    has_more: bool = Field(default=False, description="There are even more: ask again.")


class WaitsFor(BaseModel):
    """
    What a waiting run waits for: `sleep` or `approval`, and until when, Unix milliseconds.

    `call` is the number of the call that waits; an approval is answered under this number.
    """

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    kind: Literal["sleep", "approval"] = Field(alias="for")
    until_ms: int
    call: int


class Approval(BaseModel):
    """
    One question of a run, and its answer. Times are Unix milliseconds.

    `n` is the number of the call that waits. `function`, `account` and `preview` (its arguments,
    secrets taken out, long ones cut) are there when a grant wants the call approved; `details` are
    the script's own words. `by` is the id of the key that answered. Unanswered, it can be answered
    until `until_ms` while its run has not ended.
    """

    run: str
    n: int
    title: str
    details: Any = None
    function: str | None = None
    account: str | None = None
    preview: str | None = None
    asked_ms: int
    until_ms: int
    decision: Decision | None = None
    comment: str | None = None
    by: str | None = None
    at_ms: int | None = None


class RunRecord(RunResult):
    """
    One run of one tenant. Times are Unix milliseconds; `attempt` counts from 0 while queued.

    `grants` is what the run asked for; `ceiling` has the rules that its tenant and its key had when
    it was accepted, by `tenant` and `key`, where there were any, and by `maker` those that the key
    had which made its schedule, when it did. `waits` is there while it waits.
    `origin` is there when it was no plain submission; `script_ref`, `name@version`, when its script
    is a saved one; `expires_ms` when it must begin before.
    """

    tenant: str
    name: str = "script"
    script_sha256: str
    limits: dict[str, int] = Field(default_factory=dict)
    grants: list[str | dict[str, Any]] | None = None
    ceiling: dict[str, list[str | dict[str, Any]]] | None = None
    force: bool = False
    seed: int
    attempt: int = 0
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    waits: list[WaitsFor] | None = None
    origin: Origin | None = None
    script_ref: str | None = None
    priority: Priority = Priority.NORMAL
    expires_ms: int | None = None
    callback: str | None = None
