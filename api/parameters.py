"""Query parameters are held to those that a route has."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from fastapi import Request

from api.problems import MAX_ERRORS, FieldError, InvalidFields
from api.submission import nearest


def refuse_unknown_parameters(request: Request) -> None:
    """
    Refuse query parameters that the route does not have, or twice: a filter must not be lost.

    Raises:
        InvalidFields: with each wrong name and the nearest known one.
    """
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    wrong = list(islice(_wrong_parameters(request, known), MAX_ERRORS))
    if wrong:
        raise InvalidFields(wrong)


def _wrong_parameters(request: Request, known: list[str]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            detail = f"there is no such parameter; known: {', '.join(known) or 'none'}"
            near = nearest(name, known)
            yield FieldError(parameter=name[:80], detail=detail, nearest=near)
        elif name in seen:
            yield FieldError(parameter=name, detail="it is given twice")
        seen.add(name)
