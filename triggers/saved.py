"""A saved script: its versions, which never change, and what is asked when one is saved."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from core.errors import Invalid
from runs.accept import check_request
from runs.model import RunRequest
from triggers.input_schema import check_schema
from triggers.refs import Ref, check_alias, check_name

MAX_NOTE_CHARS = 500


class ScriptVersion(BaseModel):
    """
    One version of a saved script, without its text.

    `limits` and `grants` are what its runs have when a submission says nothing else; `input_schema`
    is None when any input will do. `created_by` is the id of a key.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    script_sha256: str
    script_bytes: int
    limits: dict[str, int] = Field(default_factory=dict)
    grants: list[str | dict[str, Any]] | None = None
    input_schema: Any = None
    note: str = ""
    created_ms: int
    created_by: str

    @property
    def ref(self) -> str:
        """Give `name@version`, which means this text for ever."""
        return str(Ref(self.name, version=self.version))


class SavedScript(BaseModel):
    """A saved script: its newest version, and which versions its aliases mean."""

    name: str
    latest: int
    aliases: dict[str, int]
    created_ms: int
    updated_ms: int
    version: ScriptVersion


@dataclass(frozen=True, slots=True)
class Resolved:
    """A version and its text, in UTF-8."""

    version: ScriptVersion
    text: bytes


class ScriptDraft(BaseModel):
    """What a client wants to be saved."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    script: str
    limits: dict[str, int] = Field(default_factory=dict)
    grants: list[str | dict[str, Any]] | None = None
    input_schema: Any = None
    note: str = ""
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedScript:
    """A version that can be saved. `terms` is JSON text, `digest` that of all that makes it."""

    name: str
    text: bytes
    terms: dict[str, Any]
    digest: str
    alias: str | None


def check_draft(draft: ScriptDraft) -> CheckedScript:
    """
    Check what is to be saved. Names of grants are not looked up in the catalog.

    Raises:
        Invalid: something is malformed, with its pointer. TooLarge: the script has too many bytes.
    """
    check_name(draft.name)
    if draft.alias is not None:
        check_alias(draft.alias)
    if len(draft.note) > MAX_NOTE_CHARS or not (draft.note.isprintable() or not draft.note):
        raise Invalid(f"a note has at most {MAX_NOTE_CHARS} printable characters", pointer="/note")
    checked = check_request(
        RunRequest(script=draft.script, limits=draft.limits, grants=draft.grants, seed=0)
    )
    schema = None if draft.input_schema is None else check_schema(draft.input_schema)
    made_of = {
        "script_sha256": hashlib.sha256(checked.script).hexdigest(),
        "limits": draft.limits,
        "grants": checked.grants,
        "input_schema": None if schema is None else orjson.loads(schema),
    }
    digest = hashlib.sha256(orjson.dumps(made_of, option=orjson.OPT_SORT_KEYS)).hexdigest()
    terms = made_of | {"script_bytes": len(checked.script), "note": draft.note}
    return CheckedScript(draft.name, checked.script, terms, digest, draft.alias)
