"""A schedule: what it starts, when, and what became of its fires."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from runs.model import Priority
from triggers.timing import MAX_MISSED, Missed, Timing, read_timing

Overlap = Literal["skip", "queue", "cancel_previous"]
ID_PREFIX = "sch"
MAX_NAME_CHARS = 128
MAX_INPUT_BYTES = 65_536
MAX_JITTER_S = 3_600
#: What a schedule fires by; a change of one takes the place of the others.
TIMING_FIELDS = frozenset({"cron", "every_s", "at", "time_zone"})


class ScheduleState(StrEnum):
    """Whether a schedule fires. `suspended`: its key or script is gone; `done`: nothing is left."""

    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    DONE = "done"


class ScheduleDraft(BaseModel):
    """What a schedule is to start, and when: one of `cron`, `every_s` and `at`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    script_ref: str = Field(
        max_length=120,
        description="Saved script: `name@version` for ever that text; `name@alias` and `name` what "
        "they mean at each fire.",
    )
    name: str = Field(default="", max_length=MAX_NAME_CHARS, description="For people.")
    input: Any = Field(default=None, description="Input of each run, at most 64 KiB as JSON.")
    limits: dict[str, int] = Field(
        default_factory=dict, description="Only what differs from those of the script."
    )
    grants: list[str | dict[str, Any]] | None = Field(
        default=None, description="In place of those of the script; they only take away."
    )
    priority: Literal["high", "normal", "low"] = "normal"
    callback: str | None = Field(
        default=None, max_length=2_200, description="Who is told when its runs end."
    )
    cron: str | None = Field(
        default=None,
        description="`minute hour day month weekday`, with seconds in front if there are six "
        "fields, or `@daily` and the like.",
    )
    time_zone: str = Field(default="UTC", max_length=64, description="Of `cron` and `at`.")
    every_s: int | None = Field(default=None, description="Seconds between two fires.")
    at: str | None = Field(
        default=None,
        max_length=40,
        description="Once: RFC 3339, or without an offset the local time of `time_zone`.",
    )
    overlap: Overlap = Field(
        default="skip",
        description="What becomes of a fire while the run of the one before has not ended: none, "
        "it waits for its turn, or that run is cancelled first.",
    )
    missed: Missed = Field(
        default="once",
        description="What becomes of fires that are more than 10 s late: none is made up for, one "
        "run for all of them, or each of the newest `missed_max`.",
    )
    missed_max: int = Field(default=100, ge=1, le=MAX_MISSED)
    jitter_s: int = Field(
        default=0,
        ge=0,
        le=MAX_JITTER_S,
        description="Each fire comes up to so many seconds late, always the same for one moment.",
    )

    def timing(self, now_ms: int) -> Timing:
        """
        Read when it fires; `every_s` counts from `now_ms`.

        Raises:
            Invalid: as `read_timing`.
        """
        return read_timing(self.cron, self.every_s, self.at, zone=self.time_zone, now_ms=now_ms)


class ScheduleChange(BaseModel):
    """What is to be different; what is left out stays."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    state: Literal["active", "paused"] | None = Field(
        default=None, description="`active` resumes one that is paused or suspended."
    )
    script_ref: str | None = Field(default=None, max_length=120)
    name: str | None = Field(default=None, max_length=MAX_NAME_CHARS)
    input: Any = None
    limits: dict[str, int] | None = None
    grants: list[str | dict[str, Any]] | None = None
    priority: Literal["high", "normal", "low"] | None = None
    callback: str | None = Field(default=None, max_length=2_200)
    cron: str | None = None
    time_zone: str | None = Field(default=None, max_length=64)
    every_s: int | None = None
    at: str | None = Field(default=None, max_length=40)
    overlap: Overlap | None = None
    missed: Missed | None = None
    missed_max: int | None = Field(default=None, ge=1, le=MAX_MISSED)
    jitter_s: int | None = Field(default=None, ge=0, le=MAX_JITTER_S)

    def applied_to(self, draft: ScheduleDraft) -> ScheduleDraft:
        """Give the draft with what was said here; a timing takes the place of the other kinds."""
        said = self.model_dump(exclude_unset=True, exclude={"state"})
        kinds = ("cron", "every_s", "at")
        if any(said.get(kind) is not None for kind in kinds):
            said = {**dict.fromkeys(kinds), **said}
        defaults = ScheduleDraft(script_ref="-")
        for name, value in said.items():
            if value is None and name not in {*kinds, "input", "grants", "callback"}:
                said[name] = getattr(defaults if name != "script_ref" else draft, name)
        return ScheduleDraft(**{**draft.model_dump(), **said})

    @property
    def retimed(self) -> bool:
        """Tell whether it says when to fire."""
        return bool(TIMING_FIELDS & self.model_fields_set)


class FireCounts(BaseModel):
    """How many fires ended how; each is counted once."""

    started: int = 0
    skipped: int = 0
    missed: int = 0
    failed: int = 0


class Schedule(ScheduleDraft):
    """
    A schedule as it is kept and shown. Times are Unix milliseconds.

    Its runs have what the key `key_id` may call: that of whoever made or changed it last. `reason`
    says why it is suspended. `waiting` counts fires that wait for the run before them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)

    id: str
    state: ScheduleState
    reason: str | None = None
    key_id: str
    created_ms: int
    updated_ms: int
    next_fire_ms: int | None = None
    last_fire_ms: int | None = None
    last_run: str | None = None
    counts: FireCounts = Field(default_factory=FireCounts)
    waiting: int = 0

    @property
    def as_draft(self) -> ScheduleDraft:
        """Give what it starts, and when."""
        return ScheduleDraft(**{name: getattr(self, name) for name in ScheduleDraft.model_fields})


class Fire(BaseModel):
    """
    What came of one fire, or, with `count`, of all from `fire_ms` to `until_ms`.

    `fire_ms` is the moment it was for, `at_ms` when it was told. Of more than can be counted
    `count` is 1 and `reason` is `uncounted`.
    """

    fire_ms: int
    at_ms: int
    outcome: Literal["started", "skipped", "missed", "failed"]
    run: str | None = None
    reason: str | None = None
    count: int | None = None
    until_ms: int | None = None


def priority_of(word: str) -> Priority:
    """Give the priority of a draft as runs know it."""
    return Priority(word)
