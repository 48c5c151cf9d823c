"""What the routes answer, beside the record of a run itself, and what they take."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.grant_shapes import AskedRules
from core.plans import Mode, Plan
from runs.approvals import MAX_COMMENT_CHARS as MAX_APPROVAL_COMMENT_CHARS
from runs.batches.model import BatchRecord
from runs.model import Approval, Decision, Priority, RunError, State, UsageRecord, WaitsFor
from runs.origin import Origin
from runs.plans import MAX_COMMENT_CHARS
from sandbox.outcome import Reason
from tenancy.vault_records import Writer

#: What a list leaves out of each record: any of these may be megabytes long.
LONG_FIELDS = frozenset({"result", "output", "calls", "ceiling", "plan", "applied"})


class RunSummary(BaseModel):
    """One run in a list: its record without what may be long."""

    id: str
    mode: Mode = Mode.RUN
    status: State
    reason: Reason | None = None
    error: RunError | None = None
    usage: UsageRecord
    tenant: str
    name: str
    script_sha256: str
    limits: dict[str, int]
    grants: AskedRules = None
    force: bool = False
    seed: int
    attempt: int
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    waits: list[WaitsFor] | None = None
    origin: Origin | None = None
    script_ref: str | None = None
    priority: Priority = Priority.NORMAL
    expires_ms: int | None = None
    callback: str | None = None


class RunPage(BaseModel):
    """One page of a list, newest first; `next_cursor` gives the next page."""

    data: list[RunSummary]
    next_cursor: str | None
    has_more: bool


class BatchPage(BaseModel):
    """One page of a list, newest first; `next_cursor` gives the next page."""

    data: list[BatchRecord]
    next_cursor: str | None
    has_more: bool


class ApprovalBody(BaseModel):
    """What is said to what a run asks."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision
    comment: str | None = Field(
        default=None,
        max_length=MAX_APPROVAL_COMMENT_CHARS,
        description="For the script, and for whoever reads the tape; no line breaks are shown.",
    )


class ApprovalList(BaseModel):
    """What one run asked, in the order of its calls."""

    data: list[Approval]


class ApprovalPage(BaseModel):
    """One page of what runs ask now, oldest first; `next_cursor` gives the next page."""

    data: list[Approval]
    next_cursor: str | None
    has_more: bool


class AccountFields(BaseModel):
    """The values of a vendor account. They never come back."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"writeOnly": True})

    fields: dict[str, str] = Field(
        description="By field name, as `moonsand integrations schema` and the pack name them."
    )


class Account(BaseModel):
    """What may be shown of a vendor account: no value of it."""

    integration: str
    account: str
    version: int = Field(description="Grows with every write of the tenant's accounts.")
    fields: list[str] = Field(description="Names of the fields that are set.")
    set_ms: int = Field(description="Unix milliseconds.")
    set_by: Writer


class AccountList(BaseModel):
    """All accounts of a tenant that stand in the vault."""

    data: list[Account]


class Rekeyed(BaseModel):
    """How many accounts were sealed with the new data key."""

    accounts: int


class Trial(BaseModel):
    """What came of trying an account; `ok` is null while the run goes on."""

    run: str
    ok: bool | None
    status: int | None = Field(default=None, description="HTTP status of the vendor's answer.")
    code: str | None = None
    message: str | None = None


class PlanApproval(BaseModel):
    """Who approved a plan."""

    by: str = Field(description="Id of an API key.")
    at_ms: int = Field(description="Unix milliseconds.")
    comment: str | None = None


class PlanState(BaseModel):
    """The plan of a run, and what became of it."""

    run: str
    state: Literal["pending", "approved", "applied"]
    approval: PlanApproval | None
    applied_by: str | None = Field(description="Id of the run that applies it.")
    plan: Plan


class PlanApprovalBody(BaseModel):
    """What is approved, by its digest, and why."""

    model_config = ConfigDict(extra="forbid", strict=True)

    digest: str = Field(description="`digest` of the plan that was looked at, in hexadecimal.")
    comment: str | None = Field(default=None, max_length=MAX_COMMENT_CHARS)
