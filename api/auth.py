"""
The door: turns a request's API key into a tenant; nothing below this asks who is calling.

Runs in: api. Trusts: Redis, for the records of keys.
Refuses: a request without exactly one key, a key that is unknown, expired or revoked, a missing
scope, a suspended tenant; to act for another tenant, unless it is an operator's key that names one;
everybody while Redis is away.
May import: stdlib, fastapi, core, tenancy, api.problems, api.services.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from api.problems import FieldError, InvalidFields
from api.services import services_of
from core.errors import Forbidden, Invalid, Unauthenticated
from tenancy.keys import KeyRecord
from tenancy.scopes import Scope
from tenancy.tenants import check_tenant

# Only describes the scheme in the OpenAPI document; `caller` reads the header itself.
_scheme = HTTPBearer(auto_error=False, scheme_name="api_key", description="`ms_live_...`")
#: Names the tenant that an operator's key acts for.
TENANT_HEADER = "Moonsand-Tenant"
#: What an operator's key does without naming a tenant.
_OF_THE_SERVICE = {Scope.TENANTS_ADMIN, Scope.KEYS_ADMIN, Scope.USAGE_READ}
_HINT = "send the header Authorization: Bearer ms_live_..."


async def caller(request: Request, _documented: Annotated[object, Security(_scheme)]) -> KeyRecord:
    """
    Give the record of the key that the request shows.

    Raises:
        Unauthenticated: no key, several, or one that opens nothing.
        Forbidden: its tenant is suspended, or it names another and is no operator's.
        NotFound, InvalidFields: an operator's key names a tenant that there is not.
        Unavailable: Redis could not be asked.
    """
    named = _named_tenant(request)
    key = await services_of(request).keys.authenticate(_bearer_token(request), named)
    request.state.tenant = key.tenant
    structlog.contextvars.bind_contextvars(tenant=key.tenant, key_id=key.id)
    return key


def holder_of(scope: Scope, *others: Scope) -> Callable[[KeyRecord], Awaitable[KeyRecord]]:
    """Make the dependency that lets in a key with `scope`, or another, and gives its record."""

    async def holder(key: Annotated[KeyRecord, Depends(caller)]) -> KeyRecord:
        if not any(one in key.scopes for one in others):
            key.require(scope)
        if key.is_operators and key.home is None and scope not in _OF_THE_SERVICE:
            raise Forbidden(
                "an operator's key has no runs, accounts or grants of its own",
                hint=f"name the tenant that it acts for: {TENANT_HEADER}: acme",
            )
        return key

    return holder


Reader = Annotated[KeyRecord, Depends(holder_of(Scope.READ))]
# Whoever sets a tenant's limits sees them, and what is used of them, without seeing a run.
LimitsReader = Annotated[KeyRecord, Depends(holder_of(Scope.READ, Scope.TENANTS_ADMIN))]
Writer = Annotated[KeyRecord, Depends(holder_of(Scope.WRITE))]
Approver = Annotated[KeyRecord, Depends(holder_of(Scope.APPROVE))]
CredentialsReader = Annotated[KeyRecord, Depends(holder_of(Scope.CREDENTIALS_READ))]
CredentialsWriter = Annotated[KeyRecord, Depends(holder_of(Scope.CREDENTIALS_WRITE))]
ScriptsWriter = Annotated[KeyRecord, Depends(holder_of(Scope.SCRIPTS_WRITE))]
TriggersReader = Annotated[KeyRecord, Depends(holder_of(Scope.TRIGGERS_READ))]
TriggersWriter = Annotated[KeyRecord, Depends(holder_of(Scope.TRIGGERS_WRITE))]
GrantsAdmin = Annotated[KeyRecord, Depends(holder_of(Scope.GRANTS_ADMIN))]
KeysAdmin = Annotated[KeyRecord, Depends(holder_of(Scope.KEYS_ADMIN))]
UsageReader = Annotated[KeyRecord, Depends(holder_of(Scope.USAGE_READ))]
TenantsAdmin = Annotated[KeyRecord, Depends(holder_of(Scope.TENANTS_ADMIN))]


def _named_tenant(request: Request) -> str | None:
    given = request.headers.getlist(TENANT_HEADER)
    if not given:
        return None
    if len(given) > 1:
        raise InvalidFields([FieldError(header=TENANT_HEADER, detail="it is given twice")])
    try:
        return check_tenant(given[0])
    except Invalid as wrong:
        raise InvalidFields([FieldError(header=TENANT_HEADER, detail=wrong.detail)]) from None


def _bearer_token(request: Request) -> str:
    headers = request.headers.getlist("authorization")
    if not headers:
        raise Unauthenticated("no API key was sent", hint=_HINT)
    if len(headers) > 1:
        raise Unauthenticated("more than one Authorization header was sent", hint=_HINT)
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("the Authorization header is not a bearer key", hint=_HINT)
    return token.strip(" ")
