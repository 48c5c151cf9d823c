"""The pages that a problem's `type` points to."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.problems import KNOWN
from core.errors import NotFound

router = APIRouter(include_in_schema=False)


@router.get("/problems")
async def all_problems() -> Response:
    """List every kind of problem."""
    return _page("# Problems\n\n" + "\n".join(_section(code, "##") for code in KNOWN))


@router.get("/problems/{code}")
async def one_problem(code: str) -> Response:
    """Explain one kind of problem."""
    if code not in KNOWN:
        raise NotFound("there is no such problem", hint="GET /problems lists all")
    return _page(_section(code, "#"))


def _section(code: str, mark: str) -> str:
    known = KNOWN[code]
    return f"{mark} {code} ({known.status})\n\n{known.title}. {known.meaning}\n"


def _page(text: str) -> Response:
    return Response(text, media_type="text/markdown")
