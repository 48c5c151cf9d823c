"""Saved scripts as routes take and answer them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from triggers.saved import SavedScript, ScriptDraft, ScriptVersion


class ScriptBody(ScriptDraft):
    """A script that is to be saved; one that equals the newest version is that version."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    check: bool = Field(
        default=False,
        description="Check the script first, without running it, and refuse it if anything in it "
        "is found wrong; `errors` then tells what and in which line.",
    )


class AliasBody(BaseModel):
    """The version that an alias is to mean."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: int = Field(ge=1)


class ScriptText(ScriptVersion):
    """One version of a saved script with its text."""

    script: str


class ScriptPage(BaseModel):
    """Some saved scripts, by name."""

    data: list[SavedScript]
    next_cursor: str | None
    has_more: bool


class VersionPage(BaseModel):
    """Some versions of one script, newest first."""

    data: list[ScriptVersion]
    next_cursor: str | None
    has_more: bool
