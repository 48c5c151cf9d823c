"""The body by which many runs are stopped."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from runs.accept import MAX_NAME_CHARS


class CancelBody(BaseModel):
    """Which runs to stop: those that are all of what is named; or `all`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    all: bool = Field(default=False, description="Needed when nothing else is named.")
    state: list[Literal["queued", "waiting", "running"]] | None = Field(
        default=None, min_length=1, max_length=3, description="In one of these states."
    )
    priority: Literal["high", "normal", "low"] | None = None
    name: str | None = Field(default=None, min_length=1, max_length=MAX_NAME_CHARS)
    script_ref: str | None = Field(
        default=None, min_length=1, max_length=200, description="Saved script, `name@version`."
    )
    origin_id: str | None = Field(
        default=None, min_length=1, max_length=64, description="Id of what started them."
    )
