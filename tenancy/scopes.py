"""The scopes of API keys."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """
    What a key may do; no scope includes another.

    | scope | lets |
    |---|---|
    | `runs:read` | see runs, their events, and what the key may call |
    | `runs:write` | start and cancel runs |
    | `runs:force` | start runs with `force`, together with `runs:write` |
    | `runs:approve` | approve plans, and answer what runs ask |
    | `credentials:read` | see which accounts the tenant has; never their values |
    | `credentials:write` | set and delete accounts |
    | `grants:admin` | see and change what the tenant and its keys may call |
    """

    READ = "runs:read"
    WRITE = "runs:write"
    FORCE = "runs:force"
    APPROVE = "runs:approve"
    CREDENTIALS_READ = "credentials:read"
    CREDENTIALS_WRITE = "credentials:write"
    GRANTS_ADMIN = "grants:admin"


#: What a key has when nothing else is said; every other scope is given by name.
DEFAULT_SCOPES = (Scope.READ, Scope.WRITE)
