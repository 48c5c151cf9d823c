"""
The documentation over HTTP: the pages that scripts read, and `/llms.txt` that leads to them.

What we ship is public, as `/openapi.json` is. Pages of the operator's own packs may tell of systems
nobody outside knows of, so they are shown to holders of an API key only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel

from api.auth import caller
from api.parameters import refuse_unknown_parameters
from core.errors import NotFound
from integrations.catalog import Catalog
from integrations.docs import MAX_FOUND, Docs
from integrations.failure import printable
from integrations.pages import INDEX, Page

_MARKDOWN = "text/markdown"
_JSON = "application/json"
_MAX_AGE_S = 300
#: The form of llmstxt.org: title, summary, words of explanation, lists of links.
_LLMS = """\
# Moonsand

> Runs Lua of AI agents in a jail. A script calls vendors: `app.integrations.<name>.<function>`.

Read the page about Lua first, then that of the integration you need.
`POST /v1/runs` with a script runs it; that takes an API key.

## Guides

{guides}
- [HTTP API](/openapi.json): submit, watch and cancel runs
- [Problems](/problems): every error answer, and what to do about it

## Functions

{functions}
"""
#: A key is optional here: with none, the pages of what we ship.
_OPEN: dict[str, Any] = {"security": [{}, {"api_key": []}]}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    304: {"description": "It is still what `If-None-Match` names"}
}


class PageEntry(BaseModel):
    """One page as lists show it; `score` says how well it fits the words searched for."""

    name: str
    title: str
    summary: str
    href: str
    score: float | None = None


class PageList(BaseModel):
    """Pages: all of them, or those that fit best, best first."""

    data: list[PageEntry]


class PageText(PageEntry):
    """One page with its Markdown text."""

    text: str


@dataclass(frozen=True)
class Shelf:
    """The pages everybody may read, and those that a key opens."""

    public: Docs
    whole: Docs

    @classmethod
    def of(cls, catalog: Catalog, *, whole: bool) -> Self:
        """Sort the pages of a catalog; `whole` tells that all of its packs are ours."""
        return cls(catalog.docs if whole else Catalog.load().docs, catalog.docs)


async def open_shelf(request: Request) -> Docs:
    """
    Give the pages that this request may see.

    Raises:
        Unauthenticated: a key was sent, and it opens nothing.
        InvalidFields: an unknown query parameter.
    """
    shelf: Shelf = request.app.state.shelf
    if "authorization" in request.headers:
        await caller(request, None)
        docs = shelf.whole
    else:
        docs = shelf.public
    refuse_unknown_parameters(request)
    return docs


Pages = Annotated[Docs, Depends(open_shelf)]

router = APIRouter(tags=["docs"])


@router.get(
    "/v1/docs",
    operation_id="list_docs",
    summary="List or search the documentation",
    openapi_extra=_OPEN,
    responses={
        **_ANSWERS,
        200: {
            "description": "Pages as JSON, or as Markdown if `Accept` prefers it",
            "content": {
                _JSON: {"schema": {"$ref": "#/components/schemas/PageList"}},
                _MARKDOWN: {},
            },
        },
    },
    response_model=PageList,
)
async def list_docs(
    request: Request,
    docs: Pages,
    q: Annotated[str | None, Query(max_length=512, description="Words to search for.")] = None,
    limit: Annotated[
        int, Query(ge=1, le=MAX_FOUND, description="Most pages found; counts with `q`.")
    ] = 10,
) -> Response:
    """List every page, or with `q` those that fit best, best first."""
    found = docs.list() if q is None else docs.search(q, limit)
    if _prefers(request, default=_JSON) == _MARKDOWN:
        index = docs.find(INDEX)
        text = index.text if q is None and index is not None else _lines(found)
        return _answer(request, text.encode(), _MARKDOWN)
    data = [{**one, "href": _href(str(one["name"]))} for one in found]
    return _answer(request, orjson.dumps({"data": data}), _JSON)


@router.get(
    "/v1/docs/{name}",
    operation_id="read_doc",
    summary="Read a page of the documentation",
    openapi_extra=_OPEN,
    responses={
        **_ANSWERS,
        200: {
            "description": "The page as Markdown, or as JSON if `Accept` prefers it",
            "content": {
                _JSON: {"schema": {"$ref": "#/components/schemas/PageText"}},
                _MARKDOWN: {},
            },
        },
    },
    response_model=PageText,
)
async def read_doc(
    request: Request,
    docs: Pages,
    name: Annotated[str, Path(description="As `lua`, `mux` or `mux.list_assets`.")],
) -> Response:
    """Give one page, by any name that `docs.read` takes in scripts."""
    page = docs.find(name)
    if page is None:
        near = docs.near(name)
        meant = f"did you mean {', '.join(near)}? " if near else ""
        raise NotFound(
            f"there is no page {printable(name.strip(), 64)!r}",
            hint=f"{meant}GET /v1/docs lists all {len(docs.pages)} pages",
        )
    if _prefers(request, default=_MARKDOWN) == _MARKDOWN:
        return _answer(request, page.text.encode(), _MARKDOWN)
    whole = {**page.to_json(), "href": _href(page.name), "text": page.text}
    return _answer(request, orjson.dumps(whole), _JSON)


@router.get("/llms.txt", include_in_schema=False)
async def llms(request: Request, docs: Pages) -> Response:
    """Give what a language model reads first, in the form of llmstxt.org."""
    pages = list(docs.pages.values())
    guides = [one for one in pages if "." not in one.name]
    functions = [one for one in pages if "." in one.name]
    text = _LLMS.format(
        guides="\n".join(map(_link, guides)), functions="\n".join(map(_link, functions))
    )
    return _answer(request, text.encode(), "text/plain")


def _link(page: Page) -> str:
    return f"- [{page.title}]({_href(page.name)}): {' '.join(page.summary.split())}"


def _lines(found: Any) -> str:
    return "".join(f"- [{one['title']}]({_href(one['name'])}): {one['summary']}\n" for one in found)


def _href(name: str) -> str:
    return f"/v1/docs/{name}"  # names of pages are letters, digits, `_` and dots


def _prefers(request: Request, *, default: str) -> str:
    """Give the type that `Accept` likes better; `default` if it says nothing of the two."""
    accept = request.headers.get("accept", "")[:1_000].lower()
    markdown, as_json = _weight(accept, "text"), _weight(accept, "application")
    if markdown == as_json:
        return default
    return _MARKDOWN if markdown > as_json else _JSON


def _weight(accept: str, family: str) -> float:
    names = {"text": {_MARKDOWN, "text/plain", "text/*"}, "application": {_JSON, "application/*"}}
    best = 0.0
    for part in accept.split(","):
        name, *parameters = (one.strip() for one in part.split(";"))
        if name in names[family]:
            best = max(best, _quality(parameters))
    return best


def _quality(parameters: list[str]) -> float:
    for one in parameters:
        if one.startswith("q="):
            try:
                return min(1.0, max(0.0, float(one[2:])))
            except ValueError:
                return 0.0
    return 1.0


def _answer(request: Request, body: bytes, media_type: str) -> Response:
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    keyed = "authorization" in request.headers
    headers: Mapping[str, str] = {
        "ETag": tag,
        "Cache-Control": f"{'private' if keyed else 'public'}, max-age={_MAX_AGE_S}",
        "Vary": "Accept, Authorization",
    }
    known = request.headers.get("if-none-match", "")
    if known.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)
