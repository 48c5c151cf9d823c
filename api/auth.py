"""
The door: turns a request's API key into a tenant; nothing below this asks who is calling.

Runs in: api. Trusts: Redis, for the records of keys.
Refuses: a request without exactly one key, a key that is unknown or revoked, a missing scope;
everybody while Redis is away.
May import: stdlib, fastapi, core, tenancy, api.services.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from api.services import services_of
from core.errors import Unauthenticated
from tenancy.keys import KeyRecord
from tenancy.scopes import Scope

# Only describes the scheme in the OpenAPI document; `caller` reads the header itself.
_scheme = HTTPBearer(auto_error=False, scheme_name="api_key", description="`ms_live_...`")
_HINT = "send the header Authorization: Bearer ms_live_..."


async def caller(request: Request, _documented: Annotated[object, Security(_scheme)]) -> KeyRecord:
    """
    Give the record of the key that the request shows.

    Raises:
        Unauthenticated: no key, several, or one that opens nothing.
        Unavailable: Redis could not be asked.
    """
    key = await services_of(request).keys.authenticate(_bearer_token(request))
    request.state.tenant = key.tenant
    structlog.contextvars.bind_contextvars(tenant=key.tenant, key_id=key.id)
    return key


def holder_of(scope: Scope) -> Callable[[KeyRecord], Awaitable[KeyRecord]]:
    """Make the dependency that lets in a key with `scope` and gives its record."""

    async def holder(key: Annotated[KeyRecord, Depends(caller)]) -> KeyRecord:
        key.require(scope)
        return key

    return holder


Reader = Annotated[KeyRecord, Depends(holder_of(Scope.READ))]
Writer = Annotated[KeyRecord, Depends(holder_of(Scope.WRITE))]
Approver = Annotated[KeyRecord, Depends(holder_of(Scope.APPROVE))]
CredentialsReader = Annotated[KeyRecord, Depends(holder_of(Scope.CREDENTIALS_READ))]
CredentialsWriter = Annotated[KeyRecord, Depends(holder_of(Scope.CREDENTIALS_WRITE))]
GrantsAdmin = Annotated[KeyRecord, Depends(holder_of(Scope.GRANTS_ADMIN))]


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
