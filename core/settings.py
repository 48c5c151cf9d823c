"""
Every setting of the service, read once from the environment into a frozen object.

Only the `main` of a role calls `load_settings`; nothing else reads the environment. A variable
with our prefix that is not a setting stops the start: a misspelt limit must not go unnoticed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from core.allotment import memory_bytes, processors
from core.errors import Invalid

PREFIX = "MOONSAND_"
_DAY_S = 86_400
_SLOTS_EACH, _MOST_SLOTS, _SLOT_BYTES = 8, 64, 64 << 20
_REDIS_SCHEMES = (
    *("redis://", "rediss://", "unix://"),
    *("redis+sentinel://", "rediss+sentinel://"),
)

#: Read by the client commands (`moonsand submit`, `logs`, `cancel`), never by the service.
CLIENT_VARIABLES: frozenset[str] = frozenset({"MOONSAND_URL", "MOONSAND_API_KEY"})


def slots_here() -> int:
    """
    Give how many runs at once suit the processors and the memory that this process may use.

    Most runs wait for vendors. Those that do not may compute for 5 seconds within 60 of wall time:
    with nine to a processor all of them still end by themselves. A run at the default limit of
    memory takes 64 MiB at most, while its largest table grows.
    """
    by_processors = int(_SLOTS_EACH * processors())
    return max(1, min(_MOST_SLOTS, by_processors, memory_bytes() // _SLOT_BYTES))


class Settings(BaseModel):
    """What an operator may choose. Units stand in the names; ranges are enforced."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    environment: Literal["development", "production"] = Field(
        default="development",
        description="`production` refuses to start where `development` only warns.",
    )
    redis_url: str | None = Field(
        default=None,
        repr=False,
        description="Where Redis is: `redis://`, `rediss://`, `unix://`, or "
        "`redis+sentinel://host,host/service` for the primary that Sentinels name. "
        "May hold a password.",
    )
    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(
        default=8420, ge=0, le=65_535, description="Port the API listens on; 0 takes a free one."
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="Port on which the API answers `/metrics` for Prometheus; not set: nowhere.",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="Address of that port. Whoever reaches it reads it: keep it from tenants.",
    )
    metrics_tenants: int = Field(
        default=20,
        ge=0,
        le=200,
        description="Tenants that metrics name, those with the most queued; 0 for none.",
    )
    slots: int = Field(
        default_factory=slots_here,
        ge=1,
        le=1_024,
        description="Runs of one tenant at once in a worker; it has an eighth more for others. "
        "Not set: 8 for each processor and one for each 64 MiB that it may use, the fewer of them, "
        "at most 64.",
    )
    tenant_slots: int = Field(
        default=0,
        ge=0,
        le=1_024,
        description="Runs of one tenant at once, for each live worker; 0 for as many as its slots.",
    )
    lease_s: int = Field(
        default=12,
        ge=1,
        le=300,
        description="Seconds after which a silent worker's runs go on elsewhere.",
    )
    attempts: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Times a run may lose its worker before it ends as `worker_lost`.",
    )
    wait_max_s: int = Field(
        default=30 * 86_400,
        ge=60,
        le=365 * 86_400,
        description="Seconds from a run's start in which it may sleep or wait for an approval.",
    )
    wait_in_place_ms: int = Field(
        default=1_000,
        ge=1,
        le=60_000,
        description="Milliseconds of a wait from which a run is let go and holds no slot.",
    )
    tape_replicas: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Replicas of Redis that must have a call's intent before it is sent.",
    )
    tape_replicas_ms: int = Field(
        default=1_000,
        ge=1,
        le=10_000,
        description="Milliseconds they have for that; then the call is not sent.",
    )
    accounts: Path | None = Field(
        default=None, description="TOML file of vendor accounts. Read by workers only."
    )
    packs_dir: Path | None = Field(
        default=None,
        description="Directory of the operator's own packs, beside the built-in ones.",
    )
    mcp_servers: Path | None = Field(
        default=None,
        description="TOML file of MCP servers that scripts may call. Read by workers only.",
    )
    vault_keys: str | None = Field(
        default=None,
        repr=False,
        description="Master keys of the credential vault, `id:base64`, the wrapping one first.",
    )
    vault_keys_file: Path | None = Field(
        default=None, description="File with the master keys, one a line; instead of the variable."
    )
    vault_sealing_key: str | None = Field(
        default=None,
        description="Public half of a master key, `id:base64`: the API seals with it only.",
    )
    trigger_keys: str | None = Field(
        default=None,
        repr=False,
        description="Keys that seal secrets of hooks and callbacks, `id:base64`, comma between.",
    )
    trigger_keys_file: Path | None = Field(
        default=None, description="File with these keys, one a line; instead of the variable."
    )
    callback_loopback: bool = Field(
        default=False,
        description="Let callbacks go to this machine itself; other private addresses never are.",
    )
    ledger_dir: Path | None = Field(
        default=None,
        description="Directory of the ledger's archive. The sequencer writes, the API reads it.",
    )
    ledger_objects: str | None = Field(
        default=None,
        description="Keep the archive as write-once objects: in a directory, or `s3://bucket/x`.",
    )
    ledger_key: str | None = Field(
        default=None,
        repr=False,
        description="Key that signs checkpoints; `moonsand ledger keygen` makes one.",
    )
    ledger_key_file: Path | None = Field(
        default=None, description="File with the key that signs; instead of the variable."
    )
    ledger_checkpoint_s: int = Field(
        default=2,
        ge=1,
        le=3_600,
        description="Seconds between two checkpoints of a ledger that grows.",
    )
    ledger_inbox_max: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="Entries that may wait for the sequencer; beyond that no run is accepted.",
    )
    ledger_tiles: Path | None = Field(
        default=None,
        description="Directory that gets the log as write-once files, in C2SP's layout of tiles.",
    )
    ledger_witness: str | None = Field(
        default=None,
        description="Where checkpoints are sent: a directory, or an `https://` address.",
    )
    queue_max: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Runs of one tenant that may be queued or wait; more are refused.",
    )
    queue_ttl_s: int = Field(
        default=_DAY_S,
        ge=1,
        le=30 * _DAY_S,
        description="Seconds a run may wait in its queue before it ends as `expired`.",
    )
    result_ttl_s: int = Field(
        default=7 * _DAY_S,
        ge=60,
        le=366 * _DAY_S,
        description="Seconds a succeeded run, its result and its events are kept.",
    )
    failure_ttl_s: int = Field(
        default=30 * _DAY_S,
        ge=60,
        le=366 * _DAY_S,
        description="Seconds a failed or cancelled run and its events are kept.",
    )
    shutdown_grace_s: int = Field(
        default=30,
        ge=0,
        le=3_600,
        description="Seconds that open requests and runs get to end when the process is stopped.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged."
    )

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(_REDIS_SCHEMES):
            raise ValueError("must start with redis://, rediss://, unix:// or redis+sentinel://")
        return url


def variable_of(field: str) -> str:
    """Give the environment variable that sets `field`, `MOONSAND_PORT` for `port`."""
    # `REDIS_URL` is the name that hosting platforms and RQ's own tools already set.
    return "REDIS_URL" if field == "redis_url" else PREFIX + field.upper()


def load_settings(environ: Mapping[str, str] | None = None, /, **overrides: object) -> Settings:
    """
    Read the settings; `overrides` (field names) win over the environment.

    Raises:
        Invalid: an unknown variable with our prefix, or values out of range. The message names
            each variable and what was expected, never the value: it may hold a password.
    """
    environ = os.environ if environ is None else environ
    _refuse_unknown(environ)
    known = {name: variable_of(name) for name in Settings.model_fields}
    given: dict[str, Any] = {
        name: environ[variable] for name, variable in known.items() if environ.get(variable)
    }
    given.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise Invalid(_explain(error)) from None


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {variable_of(name) for name in Settings.model_fields} | CLIENT_VARIABLES
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in known:
            near = [name for name in known if name == variable.removeprefix(PREFIX)]
            near = near or get_close_matches(variable, known, n=1, cutoff=0.5)
            raise Invalid(
                f"unknown setting {variable}" + (f"; did you mean {near[0]}?" if near else ""),
                hint=f"known settings: {', '.join(sorted(known))}",
            )


def _explain(error: ValidationError) -> str:
    words = []
    for one in error.errors(include_url=False, include_input=False):
        name = str(one["loc"][0]) if one["loc"] else "settings"
        variable = variable_of(name) if name in Settings.model_fields else name
        words.append(f"{variable}: {one['msg']}")
    return "; ".join(words)
