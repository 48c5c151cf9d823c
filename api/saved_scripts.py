"""The routes of saved scripts: versions that never change, and aliases that are moved."""

from __future__ import annotations

import asyncio
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel

from api.auth import Reader, ScriptsWriter
from api.bodies import read_model
from api.idempotency import idempotent
from api.listing import Cursor, no_cursor, page_answer, wrong_cursor
from api.runs import only_known_parameters
from api.schema import json_body
from api.script_shapes import AliasBody, ScriptBody, ScriptPage, ScriptText, VersionPage
from api.services import Services, services_of
from core.errors import Invalid
from integrations.grant_names import check_taking
from sandbox.limits import MIB
from tenancy.grants import GrantSet
from triggers.refs import Ref, check_name
from triggers.saved import CheckedScript, SavedScript, ScriptDraft, ScriptVersion, check_draft
from triggers.scripts import MAX_PAGE, SavedScripts

_MAX_BODY_BYTES = 2 * MIB
Name = Annotated[str, Path(description="Name of a saved script.", max_length=200)]
Which = Annotated[
    str, Path(description="Number of a version, an alias, or `latest`.", max_length=200)
]
Alias = Annotated[str, Path(description="Name of an alias, such as `prod`.", max_length=200)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]

router = APIRouter(
    prefix="/v1/scripts", tags=["scripts"], dependencies=[Depends(only_known_parameters)]
)


@router.post(
    "",
    operation_id="save_script",
    summary="Save a script",
    status_code=201,
    openapi_extra=json_body("ScriptBody"),
    responses={
        200: {"model": ScriptVersion, "description": "The newest version is the same already"},
        201: {"model": ScriptVersion, "description": "A new version; `Location` is its address"},
    },
)
async def save_script(request: Request, key: ScriptsWriter) -> Response:
    """Keep a new version of a script, with default limits, grants and the schema of its input."""
    given = await read_model(request, ScriptBody, max_bytes=_MAX_BODY_BYTES)
    services = services_of(request)
    draft = ScriptDraft(**given.model_dump(exclude={"check"}))
    checked = await asyncio.to_thread(_check, draft, services)
    if given.check:
        await services.checks.check(key.tenant, checked.text)
    async with idempotent(request, key) as once:
        if once.replayed is not None:
            return once.replayed
        # Saving what is the newest version already makes none: a try after a crash needs no id.
        version, is_new = await _scripts(request).save(key.tenant, checked, key_id=key.id)
        where = f"/v1/scripts/{version.name}/versions/{version.version}"
        return once.keep(_answer(version, 201 if is_new else 200, {"Location": where}))


@router.get(
    "",
    operation_id="list_scripts",
    summary="List saved scripts",
    responses={200: {"model": ScriptPage, "description": "A page, by name"}},
)
async def list_scripts(
    request: Request, key: Reader, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List saved scripts by name, each with its newest version and its aliases."""
    with wrong_cursor():
        found, more = await _scripts(request).page(key.tenant, after=cursor, limit=limit)
    return page_answer(request, [one.model_dump() for one in found], more)


@router.get(
    "/{name}",
    operation_id="get_script",
    summary="Show a saved script",
    responses={200: {"model": SavedScript, "description": "Newest version and aliases"}},
)
async def get_script(request: Request, name: Name, key: Reader) -> Response:
    """Show a saved script: its newest version, without its text, and what its aliases mean."""
    return _answer(await _scripts(request).get(key.tenant, _name(name)))


@router.delete(
    "/{name}",
    operation_id="delete_script",
    summary="Delete a saved script",
    status_code=204,
    response_class=Response,
)
async def delete_script(request: Request, name: Name, key: ScriptsWriter) -> Response:
    """Delete a script with all its versions; schedules and hooks of it are suspended or fail."""
    await _scripts(request).delete(key.tenant, _name(name))
    return Response(status_code=204)


@router.get(
    "/{name}/versions",
    operation_id="list_script_versions",
    summary="List versions",
    responses={200: {"model": VersionPage, "description": "A page, newest first"}},
)
async def list_script_versions(
    request: Request, name: Name, key: Reader, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List the versions of a script, newest first, without their texts."""
    if cursor is not None and not (cursor.isascii() and cursor.isdecimal()):
        raise no_cursor("not a cursor of this list")
    below = None if cursor is None else int(cursor)
    found, more = await _scripts(request).versions(
        key.tenant, _name(name), below=below, limit=limit
    )
    rows = [one.model_dump() for one in found]
    return page_answer(request, rows, None if more is None else str(more))


@router.get(
    "/{name}/versions/{version}",
    operation_id="get_script_version",
    summary="Show a version",
    responses={200: {"model": ScriptText, "description": "The version and its text"}},
)
async def get_script_version(request: Request, name: Name, version: Which, key: Reader) -> Response:
    """Show one version with its text: by number, or what an alias or `latest` means now."""
    found = await _scripts(request).version(key.tenant, _ref(name, version))
    return _answer(ScriptText(**found.version.model_dump(), script=found.text.decode()))


@router.delete(
    "/{name}/versions/{version}",
    operation_id="delete_script_version",
    summary="Delete a version",
    status_code=204,
    response_class=Response,
)
async def delete_script_version(
    request: Request, name: Name, version: Which, key: ScriptsWriter
) -> Response:
    """Delete a version that is neither the newest nor what an alias means."""
    ref = _ref(name, version)
    if ref.version is None:
        raise Invalid("a version is deleted by its number")
    await _scripts(request).delete(key.tenant, ref.name, ref.version)
    return Response(status_code=204)


@router.put(
    "/{name}/aliases/{alias}",
    operation_id="set_script_alias",
    summary="Move an alias",
    openapi_extra=json_body("AliasBody"),
    responses={200: {"model": SavedScript, "description": "The script as it is now"}},
)
async def set_script_alias(
    request: Request, name: Name, alias: Alias, key: ScriptsWriter
) -> Response:
    """Let `name@alias` mean this version from now on; runs that were accepted are not concerned."""
    given = await read_model(request, AliasBody)
    scripts = _scripts(request)
    await scripts.set_alias(key.tenant, _name(name), alias, given.version)
    return _answer(await scripts.get(key.tenant, name))


@router.delete(
    "/{name}/aliases/{alias}",
    operation_id="delete_script_alias",
    summary="Delete an alias",
    status_code=204,
    response_class=Response,
)
async def delete_script_alias(
    request: Request, name: Name, alias: Alias, key: ScriptsWriter
) -> Response:
    """Let `name@alias` mean nothing any more."""
    await _scripts(request).set_alias(key.tenant, _name(name), alias, None)
    return Response(status_code=204)


def _check(draft: ScriptDraft, services: Services) -> CheckedScript:
    checked = check_draft(draft)
    if draft.grants:
        check_taking(GrantSet.parse(draft.grants), services.catalog)
    return checked


def _scripts(request: Request) -> SavedScripts:
    return SavedScripts(services_of(request).redis)


def _name(name: str) -> str:
    try:
        return check_name(name)
    except Invalid as wrong:
        # It stands in the path, so that no pointer leads to it.
        raise Invalid(wrong.detail) from None


def _ref(name: str, which: str) -> Ref:
    try:
        return Ref.parse(f"{name}@{which}")
    except Invalid as wrong:
        raise Invalid(wrong.detail) from None


def _answer(shown: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(shown.model_dump()),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )
