"""
The built-in integration `docs`: `list`, `search` and `read` of the pages about all others.

A page is looked up by name in a dictionary. No name ever becomes a path of the file system.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from integrations.failure import CallFailed, nearest, printable
from integrations.function import Integration, local_function
from integrations.pack import Pack
from integrations.pages import INDEX, Page, index_page, lua_page, mcp_page, pages_of
from integrations.ranking import Ranking

MAX_FOUND = 50
#: What may stand before a page's name, longest first.
_PREFIXES = ("app.integrations.", "integrations.")


class Docs:
    """All pages. `names` gives their names in order; aliases lead to the same pages."""

    def __init__(self, pages: Sequence[tuple[Page, Sequence[str]]]) -> None:
        self.pages = {page.name: page for page, _ in pages}
        self._by_name = dict(self.pages)
        for page, aliases in pages:
            for alias in aliases:
                self._by_name.setdefault(alias, page)
        # The name is said three times: a word of it weighs more than one of the text.
        self._ranking = Ranking(
            {
                page.name: " ".join([page.name, *aliases] * 3 + [page.title, page.text])
                for page, aliases in pages
                if page.name != INDEX
            }
        )

    @classmethod
    def of_packs(cls, packed: Iterable[tuple[Pack, str]]) -> Docs:
        """Write the pages of packs, each with its guide text."""
        pairs = list(packed)
        pages: list[tuple[Page, Sequence[str]]] = [
            (index_page([pack for pack, _ in pairs]), ("integrations", "app.integrations")),
            (lua_page(), ()),
            (mcp_page(), ("app.mcp",)),
        ]
        for pack, guide in pairs:
            pages += pages_of(pack, guide)
        return cls(pages)

    @property
    def names(self) -> list[str]:
        """Give the name of every page, in order."""
        return list(self.pages)

    def list(self) -> Sequence[dict[str, str]]:
        """Give name, title and summary of every page."""
        return [page.to_json() for page in self.pages.values()]

    def search(self, query: str, limit: int = 10) -> Sequence[dict[str, Any]]:
        """Give up to `limit` pages that fit a query, best first, each with its score."""
        return [
            {**self.pages[name].to_json(), "score": round(score, 3)}
            for name, score in self._ranking.search(query, min(limit, MAX_FOUND))
        ]

    def read(self, name: str) -> str:
        """
        Give the Markdown text of a page.

        Raises:
            CallFailed: `unknown_page`; the message names pages that are near.
        """
        page = self.find(name)
        if page is not None:
            return page.text
        near = self.near(name)
        meant = f" Did you mean: {', '.join(near)}?" if near else ""
        raise CallFailed(
            "unknown_page",
            f"There is no page {printable(name.strip(), 64)!r}.{meant}"
            f" docs.list() names all {len(self.pages)} pages.",
        )

    def find(self, name: str) -> Page | None:
        """Give a page by any spelling of its name; None if there is none."""
        wanted = name.strip()
        for candidate in (wanted, *(wanted.removeprefix(prefix) for prefix in _PREFIXES)):
            if candidate in self._by_name:
                return self._by_name[candidate]
        return None

    def near(self, name: str) -> Sequence[str]:
        """Give up to three names of pages like this one, best first."""
        own_names = {alias: page.name for alias, page in self._by_name.items()}
        short = name.strip().rpartition("integrations.")[2]
        return nearest(short, own_names, meant=own_names)

    def as_integration(self) -> Integration:
        """Make the pages callable from scripts."""
        text = {"type": "string", "minLength": 1, "maxLength": 512}
        limit = {"type": "integer", "minimum": 1, "maximum": MAX_FOUND, "default": 10}
        functions = (
            local_function("docs", "list", "Name every page.", lambda _: self.list()),
            local_function(
                "docs",
                "search",
                "Find pages by words.",
                lambda given: self.search(given["query"], given["limit"]),
                properties={"query": text, "limit": limit},
                required=["query"],
            ),
            local_function(
                "docs",
                "read",
                "Read one page.",
                lambda given: self.read(given["name"]),
                properties={"name": text},
                required=["name"],
            ),
        )
        return Integration("docs", "Documentation", functions)
