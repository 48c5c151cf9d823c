"""What the routes of tenants, keys and limits take and answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, WithJsonSchema

from tenancy.key_changes import MAX_GRACE_S
from tenancy.key_record import MAX_EXPIRES_MS, MAX_NAME_CHARS
from tenancy.scopes import Role, Scope
from tenancy.terms import MAX_TERMS

_STRICT = ConfigDict(extra="forbid", frozen=True)
_TERMS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": MAX_TERMS,
    "additionalProperties": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
    "examples": [{"runs_per_minute": 600, "ceiling.wall_ms": 120_000, "weight": None}],
}
Expiry = Annotated[
    int | None, Field(strict=True, ge=0, le=MAX_EXPIRES_MS, description="Unix milliseconds.")
]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]


class TenantBody(BaseModel):
    """A tenant to make."""

    model_config = _STRICT

    name: str = Field(
        strict=True,
        description="1 to 40 lower-case letters, digits or inner hyphens, a letter first. It "
        "cannot be changed, and is not given again when the tenant is deleted.",
    )


class TenantShown(BaseModel):
    """One tenant. Times are Unix milliseconds."""

    name: str
    state: Literal["active", "suspended", "deleted"]
    created_ms: int
    suspended_ms: int | None
    deleted_ms: int | None


class TenantPage(BaseModel):
    """One page of tenants, in order of names; `next_cursor` gives the next."""

    data: list[TenantShown]
    next_cursor: str | None
    has_more: bool


class KeyBody(BaseModel):
    """A key to make: with a role, with scopes, or both; else with `runs:read` and `runs:write`."""

    model_config = _STRICT

    name: str = Field(
        strict=True, min_length=1, max_length=MAX_NAME_CHARS, description="Printable characters."
    )
    role: Role | None = Field(
        default=None, description="A named set of scopes; `scopes` come on top."
    )
    scopes: Scopes | None = None
    expires_ms: Expiry = None


class KeyChangeBody(BaseModel):
    """What is to be different of a key; what is not named stays."""

    model_config = _STRICT

    name: str | None = Field(default=None, strict=True, min_length=1, max_length=MAX_NAME_CHARS)
    role: Role | None = None
    scopes: Scopes | None = None
    expires_ms: Expiry = Field(
        default=None, description="Unix milliseconds; 0 takes the expiry off."
    )


class RotationBody(BaseModel):
    """How long the old text of the key goes on."""

    model_config = _STRICT

    grace_s: int = Field(
        strict=True,
        ge=0,
        le=MAX_GRACE_S,
        description="Seconds in which the old text still opens, but administers nothing; 0 after "
        "a leak.",
    )


class KeyShown(BaseModel):
    """One key, without its text. Times are Unix milliseconds."""

    id: str
    tenant: str
    name: str
    scopes: list[Scope]
    last4: str = Field(description="The last characters of its text.")
    by: str = Field(description="Id of the key that made it, or `cli`.")
    created_ms: int
    expires_ms: int | None = Field(description="Null: it does not expire.")
    last_used_ms: int | None = Field(description="To the minute; null: never.")
    previous_ends_ms: int | None = Field(
        description="Until when the text that the last rotation replaced opens, or opened."
    )


class KeyGiven(KeyShown):
    """A key with its text, which is shown this once."""

    key: str = Field(description="The whole text, `ms_live_...`. Only its digest is kept.")


class KeyPage(BaseModel):
    """One page of keys, oldest first; `next_cursor` gives the next."""

    data: list[KeyShown]
    next_cursor: str | None
    has_more: bool


class LimitsBody(BaseModel):
    """Limits to change: an integer sets one, null takes it off; those not named stay."""

    model_config = _STRICT

    limits: Annotated[dict[str, StrictInt | None], WithJsonSchema(_TERMS_SCHEMA)] = Field(
        strict=True,
        description="`weight`, `concurrent_runs`, `queued_runs`, `runs_per_minute`, "
        "`runs_per_day`, `instructions_per_minute`, `instructions_per_day`, `stored_bytes`, "
        "`calls_per_minute.<integration>` and `ceiling.<limit of a run>`.",
    )


class LimitsShown(BaseModel):
    """The limits that are set; what is not set is the deployment's default, or no limit."""

    limits: dict[str, int]


class OwnLimits(BaseModel):
    """The limits of the tenant, and those of the key that asks; both hold."""

    tenant: dict[str, int]
    key: dict[str, int]
