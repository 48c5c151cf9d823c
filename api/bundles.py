"""The route of a run's bundle: one file with all that it takes to execute it again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from contextlib import closing
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import StreamingResponse

from api.auth import Reader
from api.runs import check_run_id, find_run, no_such_run, only_known_parameters
from api.services import Services, services_of
from core.errors import Conflict, NotFound
from core.settings import Settings
from ledger.archives import has_archive, open_archive
from runs.archived_bundle import ArchivedRun
from runs.live_bundle import has_whole_tape, live_lines
from tenancy.master_keys import MasterKeys

_TYPE = "application/x-ndjson"

router = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=[Depends(only_known_parameters)])


@router.get(
    "/{run_id}/bundle",
    operation_id="export_run",
    summary="Export a run",
    response_class=Response,
    responses={
        200: {
            "description": "A bundle: lines of JSON, the last of which has `part` `end`",
            "content": {_TYPE: {"schema": {"type": "string"}}},
        }
    },
)
async def export_run(request: Request, run_id: str, key: Reader) -> Response:
    """Give script, input, tape, replies, result, output and receipt of an ended run."""
    check_run_id(run_id)
    services = services_of(request)
    receipt, readable = await to_thread.run_sync(
        partial(_look, services.settings, run_id, key.tenant)
    )
    if readable:
        lines = _archived(services.settings, run_id, key.tenant)
        return await _answer(run_id, _counted(services, key.tenant, _threaded(lines)))
    try:
        record = await find_run(services, key.tenant, run_id)
    except NotFound:
        raise (no_such_run() if receipt is None else _not_kept()) from None
    if not record.status.terminal:
        raise Conflict(f"the run is {record.status}; it can be exported when it has ended")
    if not await has_whole_tape(services.redis, run_id):
        raise _not_kept()
    live = live_lines(services.redis, run_id, receipt)
    return await _answer(run_id, _counted(services, key.tenant, live))


async def _answer(run_id: str, lines: AsyncIterator[bytes]) -> Response:
    # What is refused must be refused before the answer begins.
    first = await anext(lines)
    headers = {"Content-Disposition": f'attachment; filename="{run_id}.jsonl"'}
    return StreamingResponse(_from(first, lines), headers=headers, media_type=_TYPE)


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for line in rest:
        yield line


async def _counted(
    services: Services, tenant: str, lines: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    with services.stream_of(tenant):
        async for line in lines:
            yield line


async def _threaded(lines: Generator[bytes, None, None]) -> AsyncIterator[bytes]:
    """Take lines one by one, each in a thread: reading one waits for the disk."""
    try:
        while (line := await to_thread.run_sync(next, lines, None)) is not None:
            yield line
    finally:
        lines.close()  # and the archive with it


def _look(settings: Settings, run: str, tenant: str) -> tuple[dict[str, Any] | None, bool]:
    """Give the receipt of a run, and whether what it binds can be read here."""
    archive = open_archive(settings) if has_archive(settings) else None
    if archive is None:
        return None, False
    with closing(archive):
        found = ArchivedRun.find(archive, MasterKeys.of_settings(settings), run, tenant)
        return (None, False) if found is None else (dict(found.receipt), found.readable)


def _archived(settings: Settings, run: str, tenant: str) -> Generator[bytes, None, None]:
    archive = open_archive(settings)
    assert archive is not None  # noqa: S101 (it was read a moment ago)
    with closing(archive):
        found = ArchivedRun.find(archive, MasterKeys.of_settings(settings), run, tenant)
        if found is None:
            raise _not_kept()
        yield from found.lines()


def _not_kept() -> NotFound:
    return NotFound(
        "what this run's tape says is not kept any more, or is sealed for others than this API",
        hint="`moonsand runs export --archive` reads it where the master keys are",
    )
