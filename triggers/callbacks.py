"""
Endpoints and what they were told, as they are stored and shown.

Runs in: api, scheduler, CLI, clients. Trusts: nothing; it is data. Refuses: nothing.
May import: stdlib, pydantic.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

MAX_NAME_CHARS = 80


class SecretShown(BaseModel):
    """What may be shown of a secret. `created_ms` is Unix milliseconds."""

    id: str
    created_ms: int


class Endpoint(BaseModel):
    """
    One endpoint. Times are Unix milliseconds.

    Without `url` it is for runs that name an address themselves. `disabled_why` is `by_hand`,
    `gone` (it answered 410) or `failing` (deliveries were given up, and for days none arrived).
    `failing_since_ms` is there while the last attempts failed.
    """

    id: str
    name: str
    url: str | None
    state: str
    disabled_why: str | None = None
    disabled_ms: int | None = None
    failing_since_ms: int | None = None
    created_ms: int
    secrets: list[SecretShown]


class Attempt(BaseModel):
    """
    One attempt. `at_ms` is Unix milliseconds, `took_ms` how long it took.

    `status` is the answer's; without one, `error` says why there is none.
    """

    at_ms: int
    took_ms: int
    status: int | None = None
    error: str | None = None


class DeliveryRecord(BaseModel):
    """
    One callback that is, was or could not be delivered. Times are Unix milliseconds.

    `subject` is the id of what ended, `kind` says what happened to it. `why` tells of a delivery
    that failed: `attempts_used`, `gone`, `endpoint_disabled`, `endpoint_deleted`, `backlog_full`
    or `refused_address`. `next_ms` is there while it will be tried again. `log` has the newest 20
    attempts.
    """

    id: str
    callback: str
    url: str | None = None
    kind: str
    subject: str
    state: Literal["pending", "delivered", "failed"]
    why: str | None = None
    attempts: int
    created_ms: int
    next_ms: int | None = None
    log: list[Attempt]
