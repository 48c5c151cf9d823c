"""What the routes of connections and syncs answer: Mixpeek's own shapes, without a secret."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from triggers.mux_mixpeek.model import Metadata, Status
from triggers.mux_mixpeek.rules import FileFilters


class ConnectionShown(BaseModel):
    """A connection. Times are ISO 8601."""

    connection_id: str
    name: str
    provider_type: Literal["mux"]
    provider_config: dict[str, Any] = Field(description="The kind of credentials; no value.")
    has_webhook_secret: bool
    webhook_path: str = Field(description="Where Mux sends its events.")
    account: str = Field(description="Name of the account of Mux that scripts would use.")
    description: str | None
    metadata: Metadata
    status: Status
    is_active: bool
    last_used_at: str | None
    last_error: str | None
    created_at: str
    updated_at: str


class Pagination(BaseModel):
    """How a list goes on."""

    next_cursor: str | None


class ConnectionList(BaseModel):
    """A page of connections, newest first."""

    results: list[ConnectionShown]
    pagination: Pagination


class ConnectionTrial(BaseModel):
    """What came of trying a connection."""

    success: bool
    message: str
    run: str | None = Field(description="Id of the run that tried it.")


class Success(BaseModel):
    """It was done."""

    success: Literal[True]


class SyncShown(BaseModel):
    """A sync. Times are ISO 8601, the counters over all cycles."""

    sync_config_id: str
    bucket_id: str
    connection_id: str
    source_path: str
    sync_mode: Literal["initial_only", "continuous"]
    polling_interval_seconds: int
    file_filters: FileFilters
    reconcile_on_sync: bool
    skip_batch_submission: bool
    is_active: bool
    description: str | None
    metadata: Metadata
    namespace_id: str | None
    mixpeek_account: str
    blob_property: str
    status: Status
    paused: bool
    total_files_discovered: int
    total_files_synced: int
    total_files_failed: int
    total_objects_deleted: int
    current_sync_run_id: str | None
    last_sync_run_id: str | None
    sync_run_counter: int
    last_sync_at: str | None
    next_sync_at: str | None
    last_error: str | None
    consecutive_failures: int
    created_at: str
    updated_at: str


class SyncList(BaseModel):
    """A page of the syncs of a bucket, newest first."""

    results: list[SyncShown]
    pagination: Pagination


class Triggered(BaseModel):
    """The cycle that was begun, or was under way."""

    sync_job_id: str = Field(description="Id of the run that carries it.")


class MuxEventAnswer(BaseModel):
    """What was done with an event of Mux."""

    received: Literal[True]
    event_type: str | None
    handled: bool
    asset_id: str | None = None
    deleted_objects: int | None = Field(
        default=None, description="Null when the run that deletes them goes on yet."
    )
