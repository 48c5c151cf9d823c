"""The public Python face: clients of the HTTP API, what they give, and what they raise."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.errors import (
        Broken,
        Conflict,
        Forbidden,
        InFlight,
        Invalid,
        KeyReused,
        NotFound,
        QuotaExceeded,
        Refused,
        ServiceError,
        TooLarge,
        Unauthenticated,
        Unavailable,
    )
    from moonsand.batch_client import BatchClient
    from moonsand.blocking_client import Client
    from moonsand.client import AsyncClient
    from moonsand.exchange import Event, Page
    from runs.batches.model import BatchRecord, BatchState, ItemResult
    from runs.model import RunError, RunRecord, RunResult, State, UsageRecord
    from sandbox.outcome import Reason

__all__ = [
    "AsyncClient",
    "BatchClient",
    "BatchRecord",
    "BatchState",
    "Broken",
    "Client",
    "Conflict",
    "Event",
    "Forbidden",
    "InFlight",
    "Invalid",
    "ItemResult",
    "KeyReused",
    "NotFound",
    "Page",
    "QuotaExceeded",
    "Reason",
    "Refused",
    "RunError",
    "RunRecord",
    "RunResult",
    "ServiceError",
    "State",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UsageRecord",
]

#: Looked up at first use: the `moonsand` command needs few of them, and starts at once.
_HOMES = {
    "Broken": "core.errors",
    "Conflict": "core.errors",
    "Forbidden": "core.errors",
    "InFlight": "core.errors",
    "Invalid": "core.errors",
    "KeyReused": "core.errors",
    "NotFound": "core.errors",
    "QuotaExceeded": "core.errors",
    "Refused": "core.errors",
    "ServiceError": "core.errors",
    "TooLarge": "core.errors",
    "Unauthenticated": "core.errors",
    "Unavailable": "core.errors",
    "AsyncClient": "moonsand.client",
    "BatchClient": "moonsand.batch_client",
    "Client": "moonsand.blocking_client",
    "Event": "moonsand.exchange",
    "Page": "moonsand.exchange",
    "BatchRecord": "runs.batches.model",
    "BatchState": "runs.batches.model",
    "ItemResult": "runs.batches.model",
    "RunError": "runs.model",
    "RunRecord": "runs.model",
    "RunResult": "runs.model",
    "State": "runs.model",
    "UsageRecord": "runs.model",
    "Reason": "sandbox.outcome",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'moonsand' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
