"""What both clients ask the HTTP API about saved scripts and schedules."""

from __future__ import annotations

from typing import Any, TypeVar

from moonsand.exchange import Ask
from moonsand.listing_asks import Page, listing, nothing
from moonsand.path_part import path_part
from triggers.saved import SavedScript, ScriptDraft, ScriptVersion
from triggers.schedules import Fire, Schedule, ScheduleChange, ScheduleDraft

T = TypeVar("T")
_SCRIPTS, _SCHEDULES = "/v1/scripts", "/v1/schedules"


def save_script(draft: ScriptDraft, *, check: bool = False) -> Ask[ScriptVersion]:
    """Ask for a version to be kept; what equals the newest one is that one."""
    body = draft.model_dump(exclude_none=True)
    if check:
        body["check"] = True
    return Ask("POST", _SCRIPTS, ScriptVersion.model_validate, json=body)


def get_script(name: str) -> Ask[SavedScript]:
    """Ask for a script: its newest version and its aliases."""
    return Ask("GET", f"{_SCRIPTS}/{path_part(name)}", SavedScript.model_validate)


def get_version(name: str, which: str) -> Ask[dict[str, Any]]:
    """Ask for one version with its text, `script`; by number, alias or `latest`."""
    return Ask("GET", f"{_SCRIPTS}/{path_part(name)}/versions/{path_part(which)}", dict)


def list_scripts(cursor: str | None = None) -> Ask[Page[SavedScript]]:
    """Ask for a page of scripts, by name."""
    return listing(_SCRIPTS, SavedScript.model_validate, cursor)


def list_versions(name: str, cursor: str | None = None) -> Ask[Page[ScriptVersion]]:
    """Ask for a page of versions, newest first."""
    where = f"{_SCRIPTS}/{path_part(name)}/versions"
    return listing(where, ScriptVersion.model_validate, cursor)


def set_alias(name: str, alias: str, version: int) -> Ask[SavedScript]:
    """Ask for an alias to mean a version."""
    where = f"{_SCRIPTS}/{path_part(name)}/aliases/{path_part(alias)}"
    return Ask("PUT", where, SavedScript.model_validate, json={"version": version})


def delete_alias(name: str, alias: str) -> Ask[None]:
    """Ask for an alias to mean nothing any more."""
    return Ask("DELETE", f"{_SCRIPTS}/{path_part(name)}/aliases/{path_part(alias)}", nothing)


def delete_script(name: str, version: int | None = None) -> Ask[None]:
    """Ask for the end of a script, or of one version."""
    where = f"{_SCRIPTS}/{path_part(name)}"
    return Ask("DELETE", where if version is None else f"{where}/versions/{version}", nothing)


def create_schedule(draft: ScheduleDraft) -> Ask[Schedule]:
    """Ask for a schedule."""
    body = draft.model_dump(exclude_defaults=True)
    return Ask("POST", _SCHEDULES, Schedule.model_validate, json=body)


def get_schedule(schedule_id: str) -> Ask[Schedule]:
    """Ask for one schedule."""
    return Ask("GET", f"{_SCHEDULES}/{path_part(schedule_id)}", Schedule.model_validate)


def list_schedules(cursor: str | None = None) -> Ask[Page[Schedule]]:
    """Ask for a page of schedules, newest first."""
    return listing(_SCHEDULES, Schedule.model_validate, cursor)


def list_fires(schedule_id: str, limit: int) -> Ask[list[Fire]]:
    """Ask what came of the last fires, newest first."""

    def read(found: Any) -> list[Fire]:
        return [Fire.model_validate(one) for one in found["data"]]

    where = f"{_SCHEDULES}/{path_part(schedule_id)}/fires"
    return Ask("GET", where, read, params={"limit": str(limit)})


def change_schedule(schedule_id: str, change: ScheduleChange) -> Ask[Schedule]:
    """Ask for something to be different."""
    body = change.model_dump(exclude_unset=True)
    where = f"{_SCHEDULES}/{path_part(schedule_id)}"
    return Ask("PATCH", where, Schedule.model_validate, json=body)


def delete_schedule(schedule_id: str) -> Ask[None]:
    """Ask for the end of a schedule."""
    return Ask("DELETE", f"{_SCHEDULES}/{path_part(schedule_id)}", nothing)
