"""Lists in pages: what a request says of the page it wants, and the answer that has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import Query, Request, Response

from api.problems import FieldError, InvalidFields
from core.errors import Invalid

Cursor = Annotated[
    str | None, Query(max_length=200, description="`next_cursor` of the page before.")
]


def no_cursor(detail: str) -> InvalidFields:
    """Make the error that says of the query's `cursor` what is wrong with it."""
    return InvalidFields([FieldError(parameter="cursor", detail=detail)])


@contextmanager
def wrong_cursor() -> Iterator[None]:
    """Say of a store's refusal that the query's `cursor` is meant: all else was checked before."""
    try:
        yield
    except Invalid as error:
        raise no_cursor(error.detail) from None


def page_answer(
    request: Request, rows: Sequence[Any], following: str | None, **beside: Any
) -> Response:
    """
    Make the answer that has a page of JSON values, and `beside` them other fields.

    Where the next page is tells `next_cursor`, None on the last one, and `Link`, the same request
    from there.
    """
    page = {"data": rows, **beside, "next_cursor": following, "has_more": following is not None}
    headers = {}
    if following is not None:
        query = urlencode({**request.query_params, "cursor": following})
        headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
    return Response(orjson.dumps(page), headers=headers, media_type="application/json")
