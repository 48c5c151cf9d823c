"""Pages of hooks, endpoints and deliveries, and what is wrong with a cursor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlencode

import orjson
from fastapi import Response
from pydantic import BaseModel

from api.problems import FieldError, InvalidFields
from core.errors import Invalid


@contextmanager
def wrong_cursor() -> Iterator[None]:
    """Say of a store's refusal that the query's `cursor` is meant: all else was checked before."""
    try:
        yield
    except Invalid as error:
        raise InvalidFields([FieldError(parameter="cursor", detail=error.detail)]) from None


def page_answer(
    path: str, found: Sequence[BaseModel], following: str | None, limit: int
) -> Response:
    """Make the answer that has a page and, in `Link` and `next_cursor`, where the next one is."""
    page = {
        "data": [one.model_dump(exclude_none=True) for one in found],
        "next_cursor": following,
        "has_more": following is not None,
    }
    headers = {}
    if following is not None:
        query = urlencode({"cursor": following, "limit": limit})
        headers["Link"] = f'<{path}?{query}>; rel="next"'
    return Response(orjson.dumps(page), headers=headers, media_type="application/json")
