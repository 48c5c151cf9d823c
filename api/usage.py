"""
The route of usage: what tenants and keys used on each UTC day, by the ledger's leaves.

A key with `usage:read` sees its tenant's, an operator's that names no tenant everybody's.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal

import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from api.auth import UsageReader
from api.listing import no_cursor, page_answer
from api.problems import FieldError, InvalidFields
from api.runs import only_known_parameters
from api.services import services_of
from core.clock import now_ms
from core.errors import Unavailable
from core.settings import Settings
from ledger.archive import ArchiveReader
from ledger.archives import beside, open_archive
from ledger.usage import MAX_PAGE, STEM, Usage, Wanted
from ledger.usage_rows import Place, csv_head, csv_row

MAX_DAYS = 366
_WITHIN_S = 2.0
_CSV = "text/csv; charset=utf-8"

router = APIRouter(
    prefix="/v1/usage", tags=["usage"], dependencies=[Depends(only_known_parameters)]
)


class UsageShown(BaseModel):
    """What a tenant, or one of its keys, used on one UTC day, by the ends of runs in the ledger."""

    day: str = Field(description="UTC day of the ends of the runs, `2026-11-23`.")
    tenant: str
    key: str | None = Field(
        default=None, description="Id of the key; `-` for runs without one. Only with `by=key`."
    )
    runs: int = Field(description="Ends of runs.")
    unmetered: int = Field(
        description="Of these, the ones that began and tell of no instruction: killed, or lost."
    )
    attempts: int = Field(description="How often they were begun, again after lost workers too.")
    instructions: int
    cpu_ms: int
    wall_ms: int
    memory_bytes: int = Field(description="Sum of the peaks of their heaps.")
    output_bytes: int
    memory_bytes_max: int = Field(description="The highest peak.")
    calls: int = Field(description="Calls of scripts, refused ones included.")
    reasons: dict[str, int] = Field(description="Ends by reason; `ok` is success.")
    called: dict[str, int] = Field(description="Calls that were begun, by integration.")


class UsagePage(BaseModel):
    """One page, by day, tenant and key; `next_cursor` gives the next."""

    data: list[UsageShown]
    entries: int = Field(description="Entries of the ledger that were counted.")
    next_cursor: str | None
    has_more: bool


Day = Annotated[str | None, Query(pattern=r"^\d{4}-\d{2}-\d{2}$")]


@router.get(
    "",
    operation_id="get_usage",
    summary="Show what was used",
    response_class=Response,
    responses={
        200: {
            "model": UsagePage,
            "description": "A page of rows, or all of them as CSV",
            "content": {"text/csv": {"schema": {"type": "string"}}},
        }
    },
)
async def get_usage(  # noqa: PLR0913, PLR0917 (a parameter each)
    request: Request,
    key: UsageReader,
    first: Annotated[
        Day, Query(alias="from", description="First day, UTC; without it the month's first.")
    ] = None,
    last: Annotated[Day, Query(alias="to", description="Last day, UTC; without it today.")] = None,
    by: Annotated[Literal["tenant", "key"], Query(description="A row for each of these.")] = (
        "tenant"
    ),
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
    cursor: Annotated[
        str | None, Query(max_length=1_000, description="`next_cursor` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 200,
) -> Response:
    """Show runs by outcome, instructions, time, memory, output and calls of each UTC day."""
    wanted = replace(_days(first, last), by_key=by == "key")
    if not (key.is_operators and key.home is None):
        wanted = replace(wanted, tenant=key.tenant)
    after, settings = _after(cursor), services_of(request).settings
    if form == "csv":
        await to_thread.run_sync(partial(_follow, settings))
        name = f"usage-{wanted.tenant or 'all'}-{wanted.first_day}-{wanted.last_day}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(_csv(settings, wanted), headers=headers, media_type=_CSV)
    rows, more, counted = await to_thread.run_sync(partial(_page, settings, wanted, after, limit))
    return page_answer(request, rows, _cursor(more), entries=counted)


def _days(first: str | None, last: str | None) -> Wanted:
    today = datetime.fromtimestamp(now_ms() / 1000, UTC).date()
    end = _day("to", last) or today
    begin = _day("from", first) or end.replace(day=1)
    if begin > end:
        raise InvalidFields([FieldError(parameter="from", detail="it is after the last day")])
    if end - begin >= timedelta(days=MAX_DAYS):
        detail = f"there are more than {MAX_DAYS} days until the last"
        raise InvalidFields([FieldError(parameter="from", detail=detail)])
    return Wanted(begin.isoformat(), end.isoformat())


def _day(name: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InvalidFields([FieldError(parameter=name, detail="it is no day")]) from None


def _after(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        day, tenant, key = parts
    except (ValueError, TypeError):
        parts = None
    if not (isinstance(parts, list) and all(isinstance(one, str) for one in parts)):
        raise no_cursor("it is no cursor that a page gave")
    return Place(day, tenant, key)


def _cursor(place: Place | None) -> str | None:
    if place is None:
        return None
    return base64.urlsafe_b64encode(orjson.dumps([place.day, place.tenant, place.key])).decode()


def _page(
    settings: Settings, wanted: Wanted, after: Place | None, limit: int
) -> tuple[list[dict[str, Any]], Place | None, int]:
    with closing(_counted(settings)) as usage:
        rows, more = usage.page(wanted, after, limit)
        return [row.to_json() for row in rows], more, usage.counted


def _follow(settings: Settings) -> None:
    _counted(settings).close()


def _csv(settings: Settings, wanted: Wanted) -> Iterator[str]:
    with closing(_open(settings)) as usage:
        yield csv_head()
        for row in usage.rows(wanted):
            yield csv_row(row)


def _open(settings: Settings) -> Usage:
    place = settings.ledger_objects or str(settings.ledger_dir)
    return Usage(beside(place, settings.ledger_dir, STEM))


def _counted(settings: Settings) -> Usage:
    """Open the sums with all that the archive has by now in them."""
    archive = open_archive(settings)
    usage = _open(settings)
    if archive is None:
        return usage
    try:
        with closing(archive):
            _count(archive, usage)
    except BaseException:
        usage.close()
        raise
    return usage


def _count(archive: ArchiveReader, usage: Usage) -> None:
    if not usage.follow(archive, _WITHIN_S):
        raise Unavailable(
            f"the ledger's entries are being counted: {usage.counted} of {archive.size} so far",
            hint="ask again: each request goes on with it",
        )
