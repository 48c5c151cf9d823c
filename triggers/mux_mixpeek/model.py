"""
Connections and syncs: what is asked for, what is kept, and how it is shown.

Runs in: api, scheduler. Trusts: nothing that is asked for. Refuses: values out of range.
May import: stdlib, pydantic, orjson, core, triggers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from triggers.mux_mixpeek.rules import FileFilters
from triggers.starting import Owner

CONNECTION, SYNC, JOB = "con", "syn", "evt"
SOURCE = "mux://"
_ACCOUNT = r"^[a-z][a-z0-9_]{0,63}$"
_ASSET = re.compile(r"mux://([A-Za-z0-9_-]{1,256})?")
MAX_METADATA_KEYS = 50
Metadata = dict[str, str | int | float | bool | None]


class Status(StrEnum):
    """Where a sync or connection is, in Mixpeek's words."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SyncConfig(_Given):
    """
    What a sync does.

    `mixpeek_account` names the tenant's account at Mixpeek, `blob_property` the field of the
    bucket's schema that takes the video.
    """

    connection_id: str = Field(min_length=1, max_length=64)
    source_path: str = Field(
        default=SOURCE,
        pattern=r"^mux://([A-Za-z0-9_-]{1,256})?$",
        description="`mux://` for all assets, `mux://{asset_id}` for one.",
    )
    sync_mode: Literal["initial_only", "continuous"] = "continuous"
    polling_interval_seconds: int = Field(default=300, ge=30, le=900)
    file_filters: FileFilters = Field(default_factory=FileFilters)
    reconcile_on_sync: bool = False
    skip_batch_submission: bool = Field(
        default=False, description="Make objects without having them processed."
    )
    is_active: bool = True
    description: str | None = Field(default=None, max_length=500)
    metadata: Metadata = Field(default_factory=dict, max_length=MAX_METADATA_KEYS)
    namespace_id: str | None = Field(
        default=None, min_length=1, max_length=256, description="As the header `X-Namespace`."
    )
    mixpeek_account: str = Field(default="default", pattern=_ACCOUNT)
    blob_property: str = Field(default="video", min_length=1, max_length=100)

    @property
    def asset_id(self) -> str | None:
        """Give the one asset that is synced; None for all."""
        found = _ASSET.fullmatch(self.source_path)
        return found[1] if found else None


class SyncChange(_Given):
    """What may be changed of a sync; what is not given stays."""

    polling_interval_seconds: int | None = Field(default=None, ge=30, le=900)
    file_filters: FileFilters | None = None
    reconcile_on_sync: bool | None = None
    skip_batch_submission: bool | None = None
    is_active: bool | None = None
    description: str | None = Field(default=None, max_length=500)
    metadata: Metadata | None = Field(default=None, max_length=MAX_METADATA_KEYS)


class Credentials(_Given):
    """
    How to get at Mux: an access token, or an account that is there already.

    The token's secrets go into the vault, and never come back.
    """

    type: Literal["access_token", "account"] = "access_token"
    access_token_id: str | None = Field(default=None, min_length=1, max_length=256)
    access_token_secret: str | None = Field(
        default=None, min_length=1, max_length=1_024, repr=False
    )
    account: str | None = Field(
        default=None,
        pattern=_ACCOUNT,
        description="With `account`: its name in the vault or the operator's file.",
    )
    webhook_secret: str | None = Field(
        default=None, repr=False, description="Which Mux shows for the webhook it was given."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = {self.access_token_id is not None, self.access_token_secret is not None}
        if self.type == "access_token" and (given != {True} or self.account is not None):
            raise ValueError(
                "an access token is `access_token_id` and `access_token_secret`, no `account`"
            )
        if self.type == "account" and (given != {False} or self.account is None):
            raise ValueError("an account is named by `account`, without an access token")
        return self

    @property
    def token(self) -> dict[str, str] | None:
        """Give the fields of an account of Mux; None for one that is there already."""
        if self.access_token_id is None or self.access_token_secret is None:
            return None
        return {"token_id": self.access_token_id, "token_secret": self.access_token_secret}


class ProviderConfig(_Given):
    """How to get at Mux."""

    credentials: Credentials


class ConnectionConfig(_Given):
    """What a connection is made of."""

    name: str = Field(min_length=1, max_length=100)
    provider_type: Literal["mux"]
    provider_config: ProviderConfig
    description: str | None = Field(default=None, max_length=500)
    metadata: Metadata = Field(default_factory=dict, max_length=MAX_METADATA_KEYS)
    test_before_save: bool = Field(
        default=True, description="Keep it only if a reading call with its credentials succeeds."
    )


class ConnectionChange(_Given):
    """What may be changed of a connection; `provider_config` and `metadata` are replaced whole."""

    name: str | None = Field(default=None, min_length=1, max_length=100)
    provider_config: ProviderConfig | None = None
    description: str | None = Field(default=None, max_length=500)
    metadata: Metadata | None = Field(default=None, max_length=MAX_METADATA_KEYS)
    is_active: bool | None = None


class BucketConfig(_Given):
    """A bucket to make at Mixpeek: with `blob_type` one field of this type and name."""

    name: str | None = Field(default=None, min_length=1, max_length=100)
    bucket_name: str | None = Field(
        default=None, min_length=1, max_length=100, description="As `name`."
    )
    description: str | None = Field(default=None, max_length=500)
    blob_type: Literal["text", "image", "audio", "video", "pdf", "excel"] | None = None
    bucket_schema: dict[str, Any] | None = None
    unique_key: dict[str, Any] | None = None
    metadata: Metadata | None = None
    namespace_id: str | None = Field(default=None, min_length=1, max_length=256)
    mixpeek_account: str = Field(default="default", pattern=_ACCOUNT)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.name is None) == (self.bucket_name is None):
            raise ValueError("give one of name and bucket_name")
        if (self.blob_type is None) == (self.bucket_schema is None):
            raise ValueError("give one of blob_type and bucket_schema")
        return self

    def for_script(self, namespace: str | None) -> dict[str, Any]:
        """Give the arguments of `mixpeek.create_bucket`."""
        given = self.model_dump(exclude={"mixpeek_account", "namespace_id", "bucket_name"})
        given |= {"name": self.name or self.bucket_name, "namespace": namespace}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Connection:
    """
    One connection as it is kept. `account` is the name of its account at Mux.

    `own_account` tells that the account was made with it and goes with it; `secret` is its webhook
    secret, sealed. Times are Unix milliseconds.
    """

    id: str
    tenant: str
    name: str
    account: str
    own_account: bool
    description: str | None
    metadata: Metadata
    is_active: bool
    created_ms: int
    updated_ms: int
    secret: str = field(default="", repr=False)
    last_error: str | None = None
    last_used_ms: int | None = None

    def shown(self) -> dict[str, Any]:
        """Give what may be shown: Mixpeek's own shape, without a secret."""
        kind = "access_token" if self.own_account else "account"
        credentials: dict[str, Any] = {"type": kind}
        if not self.own_account:
            credentials["account"] = self.account
        return {
            "connection_id": self.id,
            "name": self.name,
            "provider_type": "mux",
            "provider_config": {"credentials": credentials},
            "has_webhook_secret": bool(self.secret),
            "webhook_path": f"/v1/webhooks/mux/{self.id}",
            "account": self.account,
            "description": self.description,
            "metadata": self.metadata,
            "status": Status.ACTIVE if self.is_active else Status.SUSPENDED,
            "is_active": self.is_active,
            "last_used_at": iso(self.last_used_ms),
            "last_error": self.last_error,
            "created_at": iso(self.created_ms),
            "updated_at": iso(self.updated_ms),
        }


#: Counters of a sync, by the name under which a cycle's result has them.
COUNTERS = {
    "discovered": "total_files_discovered",
    "synced": "total_files_synced",
    "failed": "total_files_failed",
    "unindexed": "total_objects_deleted",
}


@dataclass(frozen=True, slots=True)
class Sync:
    """
    One sync as it is kept. Times are Unix milliseconds.

    `run` is the run of the cycle that is under way, `next` where its next run goes on. `owner` has
    the API key that made or changed it last: its runs have that key's grants. `failing` tells that
    an earlier run of the cycle that is under way could not make something.
    """

    id: str
    tenant: str
    owner: Owner
    bucket_id: str
    config: SyncConfig
    created_ms: int
    updated_ms: int
    status: Status = Status.PENDING
    run: str | None = None
    last_run: str | None = None
    next: Any = None
    due_ms: int | None = None
    last_ms: int | None = None
    last_error: str | None = None
    failures: int = 0
    failing: bool = False
    cycles: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """Give what may be shown, in Mixpeek's own shape."""
        config = self.config.model_dump(mode="json", exclude_unset=False)
        config["file_filters"] = self.config.file_filters.model_dump(
            mode="json", exclude_unset=True
        )
        return {
            "sync_config_id": self.id,
            "bucket_id": self.bucket_id,
            **config,
            "status": self.status if self.config.is_active else Status.SUSPENDED,
            "paused": not self.config.is_active,
            **{shown: self.counts.get(name, 0) for name, shown in COUNTERS.items()},
            "current_sync_run_id": self.run,
            "last_sync_run_id": self.last_run,
            "sync_run_counter": self.cycles,
            "last_sync_at": iso(self.last_ms),
            "next_sync_at": iso(self.due_ms) if self.config.is_active and not self.run else None,
            "last_error": self.last_error,
            "consecutive_failures": self.failures,
            "created_at": iso(self.created_ms),
            "updated_at": iso(self.updated_ms),
        }


def iso(at_ms: int | None) -> str | None:
    """Give a time as ISO 8601 text."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def json_text(value: Any) -> bytes:
    """Give the JSON text of what is kept."""
    return orjson.dumps(value)
