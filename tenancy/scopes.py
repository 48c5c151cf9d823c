"""The scopes of API keys, and the roles: named sets of them."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """
    What a key may do; no scope includes another.

    | scope | lets |
    |---|---|
    | `runs:read` | see runs, their events, saved scripts, and what the key may call |
    | `runs:write` | start and cancel runs |
    | `runs:force` | start runs with `force`, together with `runs:write` |
    | `runs:approve` | approve plans, and answer what runs ask |
    | `scripts:write` | save scripts and name their versions |
    | `triggers:read` | see schedules, hooks, callbacks and connections |
    | `triggers:write` | make, change and delete them |
    | `credentials:read` | see which accounts the tenant has; never their values |
    | `credentials:write` | set and delete accounts |
    | `grants:admin` | see and change what the tenant and its keys may call |
    | `keys:admin` | see, make, change, rotate and revoke the tenant's keys, and limit them |
    | `usage:read` | see what the tenant and its keys used |
    | `tenants:admin` | of an operator's key: make, suspend and delete tenants, set their limits, \
and act for each of them, with the key's other scopes |
    """

    READ = "runs:read"
    WRITE = "runs:write"
    FORCE = "runs:force"
    APPROVE = "runs:approve"
    SCRIPTS_WRITE = "scripts:write"
    TRIGGERS_READ = "triggers:read"
    TRIGGERS_WRITE = "triggers:write"
    CREDENTIALS_READ = "credentials:read"
    CREDENTIALS_WRITE = "credentials:write"
    GRANTS_ADMIN = "grants:admin"
    KEYS_ADMIN = "keys:admin"
    USAGE_READ = "usage:read"
    TENANTS_ADMIN = "tenants:admin"


#: What a key has when nothing else is said; every other scope is given by name or by a role.
DEFAULT_SCOPES = (Scope.READ, Scope.WRITE)

_VIEWER = (Scope.READ, Scope.TRIGGERS_READ, Scope.USAGE_READ)
_DEVELOPER = (
    *_VIEWER,
    Scope.WRITE,
    Scope.SCRIPTS_WRITE,
    Scope.TRIGGERS_WRITE,
    Scope.CREDENTIALS_READ,
)
_OPERATOR = (*_DEVELOPER, Scope.FORCE, Scope.APPROVE, Scope.CREDENTIALS_WRITE)


class Role(StrEnum):
    """
    A named set of scopes. A key keeps the scopes, not the name: no later version widens it.

    | role | has |
    |---|---|
    | `viewer` | all that reads runs, triggers and usage |
    | `developer` | and starts runs, saves scripts, makes triggers, sees accounts |
    | `operator` | and answers what runs ask, forces, sets accounts |
    | `admin` | and changes grants, keys and their limits: everything within a tenant |
    | `service` | of an operator of the whole service: tenants, their limits, keys and usage, and \
nothing of their runs |
    """

    VIEWER = "viewer"
    DEVELOPER = "developer"
    OPERATOR = "operator"
    ADMIN = "admin"
    SERVICE = "service"

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Give the scopes that the role stands for."""
        return _ROLES[self]


_ROLES = {
    Role.VIEWER: _VIEWER,
    Role.DEVELOPER: _DEVELOPER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMIN: (*_OPERATOR, Scope.GRANTS_ADMIN, Scope.KEYS_ADMIN),
    Role.SERVICE: (Scope.TENANTS_ADMIN, Scope.KEYS_ADMIN, Scope.USAGE_READ),
}
