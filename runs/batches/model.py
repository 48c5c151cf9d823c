"""A batch as it is asked for, stored and shown: one script with many inputs, or many scripts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from runs.endings import state_of
from runs.model import RunError, RunRequest, State, UsageRecord
from sandbox.limits import MIB
from sandbox.outcome import Reason

ID_PREFIX = "bat"
MAX_ITEMS = 100_000
#: Of all items of one batch together, as they are stored, before they are compressed.
MAX_BATCH_BYTES = 256 * MIB
#: ... and of all batches of one tenant that have not ended.
MAX_TENANT_BYTES = 1_024 * MIB
MAX_OPEN = 100
MAX_LISTED = 10_000
MAX_CONCURRENCY = 10_000
DEFAULT_CONCURRENCY = 256
MAX_ITEM_ID_CHARS = 128
#: An upload that is not gone on with for so long is forgotten.
UPLOAD_TTL_S = 3_600


class BatchState(StrEnum):
    """
    Where a batch is.

    `uploading`: it has not all its items, nothing of it runs. `stopping`: too many items failed,
    nothing more is started. `cancelling`: somebody asked for its end. The others are ends.
    """

    UPLOADING = "uploading"
    RUNNING = "running"
    STOPPING = "stopping"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Tell whether nothing more will happen."""
        return self in {BatchState.COMPLETED, BatchState.STOPPED, BatchState.CANCELLED}


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """
    What a batch is to be, beside its items.

    `run` is what all its runs have in common; its `input` counts for nothing, and its `script` may
    be empty when each item has its own. `concurrency` is how many of them are on their way at
    once: queued, running or waiting. After `stop_after` failures nothing more is started; 0 goes
    on. With `awaited` it starts only with so many items.
    `callback` is who is told of its end. `asked` is the digest of the request as its client gave
    it, where something was looked up since.
    """

    run: RunRequest
    concurrency: int = DEFAULT_CONCURRENCY
    stop_after: int = 0
    awaited: int | None = None
    callback: str | None = None
    asked: str = ""

    def text(self) -> bytes:
        """Give it as it is stored, without its script and its deadline."""
        return orjson.dumps(
            self.run.model_dump(exclude={"script", "input", "expires_at"}, mode="json")
        )

    def fields(self) -> dict[str, bytes | int | str]:
        """Give what is stored of it by its names, without its script and its deadline."""
        said: dict[str, bytes | int | str | None] = {
            "request": self.text(),
            "concurrency": self.concurrency,
            "stop_after": self.stop_after,
            "awaited": self.awaited,
            "callback": self.callback,
        }
        return {name: value for name, value in said.items() if value is not None}

    def script_sha256(self) -> str:
        """Give the digest of its script, empty when each item has its own."""
        script = self.run.script.encode()
        return hashlib.sha256(script).hexdigest() if script else ""

    def digest(self) -> str:
        """Give the digest of what was asked: the same for who asks the same again."""
        if self.asked:
            return self.asked
        said = repr((self.script_sha256(), sorted(self.fields().items())))
        return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ItemTerms:
    """What items are checked against: limits and script of their batch, ceilings of its key."""

    limits: dict[str, int]
    has_script: bool
    script_ref: str | None = None
    ceilings: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """
    One item, checked: `input` is JSON text.

    `script` is its own source text, None for that of the batch. `limits` are those that differ from
    the batch's.
    """

    input: bytes
    id: str | None = None
    script: bytes | None = None
    limits: dict[str, int] | None = None
    seed: int | None = None
    name: str | None = None


class BatchCounts(BaseModel):
    """
    How many items are where.

    Those that were not started are `pending`, or `skipped` once the batch has ended; `in_flight`
    are queued, running or waiting.
    """

    received: int = Field(description="Uploaded so far.")
    pending: int
    in_flight: int
    succeeded: int
    failed: int
    cancelled: int
    skipped: int


class BatchRecord(BaseModel):
    """One batch of one tenant. Times are Unix milliseconds."""

    id: str
    status: BatchState
    tenant: str
    name: str
    concurrency: int
    stop_after: int | None = Field(description="Failures after which nothing more is started.")
    counts: BatchCounts
    reasons: dict[Reason, int] = Field(description="How many items ended for which reason.")
    stopped_by: Literal["failures", "cancel", "key_unfit"] | None = Field(
        default=None, description="Why nothing more of it is started."
    )
    created_ms: int
    sealed_ms: int | None = Field(default=None, description="When it had all its items.")
    ended_ms: int | None = None


ItemStatus = Literal[
    "pending", "skipped", "queued", "running", "waiting", "succeeded", "failed", "cancelled"
]


class ItemResult(BaseModel):
    """
    One line of a batch's results.

    `status` is that of the item's run; `pending` when it has none yet, `skipped` when it will have
    none. Only a run that has ended has a `reason`. `kept` false: the run's record has expired, and
    status and reason are all that is known. What is absent is null, or empty.
    """

    model_config = ConfigDict(frozen=True)

    index: int
    id: str | None
    run: str | None
    status: ItemStatus
    reason: Reason | None = None
    result: Any = None
    output: str = ""
    error: RunError | None = None
    usage: UsageRecord | None = None
    kept: bool = True


#: The reasons by the byte that stands for each in `ms:batch:<id>:ends`: as lib_batch.lua has them.
REASONS: tuple[Reason, ...] = tuple(Reason)


def state_of_code(code: int) -> tuple[State, Reason] | None:
    """Give how the item ended for which this byte stands; None when it has not."""
    if not 1 <= code <= len(REASONS):
        return None
    reason = REASONS[code - 1]
    return state_of(reason), reason
