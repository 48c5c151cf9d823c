"""
The routes of vendor accounts: set, show, list, test, delete, and a new data key.

Runs in: api. Trusts: workers' answers, which only they can seal. Refuses: to show a value; what
the pack of the integration does not allow a tenant to say. May import: stdlib, fastapi, core,
integrations (not the broker), runs, tenancy, api.

This process has neither the vault nor its key. What it was sent is sealed for a worker at once
(`tenancy.desk`), and a test of an account is a run of the tenant.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from api.auth import CredentialsReader, CredentialsWriter
from api.problems import FieldError, InvalidFields
from api.runs import only_known_parameters
from api.schema import json_body
from api.services import Services, services_of
from api.shapes import Account, AccountList, Rekeyed, Trial
from api.strict_json import parse, pointer_to, read_body
from api.submission import nearest
from api.waiting import wait_for_end
from core.errors import Invalid, NotFound, TooLarge
from integrations.account_fields import FieldWrong, canonical, check_account_name
from integrations.function import Integration
from integrations.pack import Pack
from runs.trial import trial_of, verdict
from tenancy.desk import Do
from tenancy.scopes import Scope
from tenancy.vault import MAX_FIELDS, MAX_VALUE_BYTES

#: Every value at its longest, escaped as clients do, and room for the names.
MAX_BODY_BYTES = 6 * MAX_FIELDS * MAX_VALUE_BYTES
_TRIAL_S = 30

router = APIRouter(
    prefix="/v1/credentials",
    tags=["credentials"],
    dependencies=[Depends(only_known_parameters)],
)


@router.get(
    "",
    operation_id="list_credentials",
    summary="List accounts",
    responses={200: {"model": AccountList, "description": "All accounts, by name"}},
)
async def list_credentials(request: Request, key: CredentialsReader) -> Response:
    """List the tenant's accounts: names, versions and the fields that are set, never a value."""
    return _answer({"data": await services_of(request).desk.ask(Do.LIST, key.tenant)})


@router.post(
    "/rotate",
    operation_id="rotate_credentials",
    summary="Make a new data key",
    responses={200: {"model": Rekeyed, "description": "All accounts are sealed with it"}},
)
async def rotate_credentials(request: Request, key: CredentialsWriter) -> Response:
    """Seal all accounts of the tenant with a new data key; copies made before stay closed."""
    return _answer({"accounts": await services_of(request).desk.ask(Do.REKEY, key.tenant)})


@router.get(
    "/{integration}/{account}",
    operation_id="get_credential",
    summary="Show an account",
    responses={200: {"model": Account, "description": "What may be shown of it"}},
)
async def get_credential(
    request: Request, integration: str, account: str, key: CredentialsReader
) -> Response:
    """Show one account: its version and the fields that are set, never a value."""
    services = services_of(request)
    return _answer(await _find(services, key.tenant, integration, account))


@router.put(
    "/{integration}/{account}",
    operation_id="set_credential",
    summary="Set an account",
    openapi_extra=json_body("AccountFields"),
    responses={200: {"model": Account, "description": "It counts from the next run on"}},
)
async def set_credential(
    request: Request, integration: str, account: str, key: CredentialsWriter
) -> Response:
    """Keep an account instead of the one of this name; what is not given is not kept."""
    services = services_of(request)
    owner = _integration(services, integration)
    body = await read_body(request)
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"the body has {len(body)} bytes; {MAX_BODY_BYTES} are allowed")
    values = _checked(owner, account, _texts(parse(body)))
    return _answer(await services.desk.ask(Do.SET, key.tenant, integration, account, values))


@router.delete(
    "/{integration}/{account}",
    operation_id="delete_credential",
    summary="Delete an account",
    status_code=204,
    response_class=Response,
)
async def delete_credential(
    request: Request, integration: str, account: str, key: CredentialsWriter
) -> Response:
    """Forget an account; runs that have begun keep it to their end."""
    services = services_of(request)
    try:
        await services.desk.ask(Do.DELETE, key.tenant, integration, account)
    except NotFound:
        raise _no_such_account() from None
    return Response(status_code=204)


@router.post(
    "/{integration}/{account}/test",
    operation_id="test_credential",
    summary="Try an account",
    responses={
        200: {"model": Trial, "description": "The vendor was asked, or could not be"},
        202: {"model": Trial, "description": "The run goes on; `Location` is its address"},
    },
)
async def test_credential(
    request: Request, integration: str, account: str, key: CredentialsReader
) -> Response:
    """Make one reading call with an account, as a run; it needs `runs:write` as well."""
    key.require(Scope.WRITE)
    services = services_of(request)
    await _find(services, key.tenant, integration, account)
    pack = _integration(services, integration).pack
    assert pack is not None  # noqa: S101 (`_integration` gives none without)
    record = await services.store.submit(key.tenant, trial_of(pack, account), key_id=key.id)
    record = await wait_for_end(services, record, _TRIAL_S)
    headers = {"Location": f"/v1/runs/{record.id}"}
    if not record.status.terminal:
        return _answer({"run": record.id, "ok": None}, 202, headers)
    record = await services.store.get(key.tenant, record.id)
    return _answer(verdict(record), 200, headers)


async def _find(services: Services, tenant: str, integration: str, account: str) -> Any:
    for one in await services.desk.ask(Do.LIST, tenant):
        if (one["integration"], one["account"]) == (integration, account):
            return one
    raise _no_such_account()


def _no_such_account() -> NotFound:
    # The same words whether it never was, was deleted, or is another tenant's.
    return NotFound("there is no such account", hint="GET /v1/credentials lists yours")


def _integration(services: Services, name: str) -> Integration:
    found = services.catalog.integrations.get(name)
    if found is None or found.pack is None:
        known = [one.name for one in services.catalog.integrations.values() if one.pack]
        near = nearest(name, known)
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(known)}"
        raise NotFound("there is no such integration with accounts", hint=hint)
    return found


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Invalid("the body must be a JSON object", pointer="")
    for name in value:
        if name != "fields":
            # The name is not repeated: a secret may have come into its place.
            raise Invalid('it must be {"fields": {...}} and nothing else', pointer="")
    fields = value.get("fields")
    if not isinstance(fields, dict) or len(fields) > MAX_FIELDS:
        raise Invalid(f"it must be an object of at most {MAX_FIELDS} fields", pointer="/fields")
    wrong = [
        FieldError(pointer=pointer_to("fields", name), detail="it must be text")
        for name, one in fields.items()
        if not isinstance(one, str)
    ]
    if wrong:
        raise InvalidFields(wrong)
    for name, one in fields.items():
        if len(one.encode("utf-8", "surrogatepass")) > MAX_VALUE_BYTES:
            detail = f"it has more than the {MAX_VALUE_BYTES} bytes allowed"
            raise Invalid(detail, pointer=pointer_to("fields", name))
    return fields


def _checked(owner: Integration, account: str, given: dict[str, str]) -> dict[str, str]:
    pack: Pack | None = owner.pack
    assert pack is not None  # noqa: S101 (`_integration` gives none without)
    try:
        check_account_name(owner, account)
    except FieldWrong as wrong:
        raise InvalidFields([FieldError(parameter="account", detail=str(wrong))]) from None
    try:
        return canonical(pack, given, by_tenant=True)
    except FieldWrong as wrong:
        pointer = pointer_to("fields", wrong.field or "")
        raise InvalidFields([FieldError(pointer=pointer, detail=str(wrong))]) from None


def _answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = orjson.dumps(value)
    return Response(body, status_code=status, headers=headers, media_type="application/json")
