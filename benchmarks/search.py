"""`docs.search` over a thousand pages, beside SQLite's full-text index of the same pages."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Sequence

from benchmarks.figures import Row, median, percentile, spread
from integrations.docs import Docs
from integrations.pages import Page

PAGES = 1_000
WORDS_A_PAGE = 300
ROUNDS = 7
QUERIES = 300
LIMIT = 10
_VOCABULARY = 6_000
_SYLLABLES = [c + v for c in "bcdfghjklmnprtvw" for v in "aeiou"]


def _pages(chance: random.Random) -> tuple[list[Page], list[str]]:
    """Make pages whose words are as unevenly common as those of a language (Zipf)."""
    words = [
        "".join(chance.choices(_SYLLABLES, k=chance.randint(2, 4))) for _ in range(_VOCABULARY)
    ]
    weights = [1 / rank for rank in range(1, _VOCABULARY + 1)]
    pages = []
    for number in range(PAGES):
        text = " ".join(chance.choices(words, weights, k=WORDS_A_PAGE))
        name = f"vendor{number // 20}.{chance.choice(words)}_{chance.choice(words)}_{number}"
        pages.append(Page(name, f"Vendor: {name}", text[:80], text))
    queries = [
        " ".join(chance.choices(words, weights, k=chance.randint(1, 5))) for _ in range(QUERIES)
    ]
    return pages, queries


def _times_ms(search: Callable[[str], object], queries: Sequence[str]) -> list[float]:
    took = []
    for query in queries:
        began = time.perf_counter()
        search(query)
        took.append((time.perf_counter() - began) * 1000)
    return took


def _sqlite(pages: Sequence[Page]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE pages USING fts5(name, title, text)")
    rows = [(page.name, page.title, page.text) for page in pages]
    connection.executemany("INSERT INTO pages VALUES (?, ?, ?)", rows)
    return connection


def latency() -> list[Row]:
    """Measure one search for one to five words, and the making of the index."""
    pages, queries = _pages(random.Random(7))  # noqa: S311
    began = time.perf_counter()
    docs = Docs([(page, ()) for page in pages])
    built_ms = (time.perf_counter() - began) * 1000
    began = time.perf_counter()
    connection = _sqlite(pages)
    theirs_built_ms = (time.perf_counter() - began) * 1000

    def theirs_found(query: str) -> list[str]:
        found = connection.execute(
            "SELECT name, title FROM pages WHERE pages MATCH ? ORDER BY rank LIMIT ?",
            (" OR ".join(query.split()), LIMIT),
        )
        return found.fetchall()

    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(percentile(_times_ms(lambda query: docs.search(query, LIMIT), queries), 0.5))
        theirs.append(percentile(_times_ms(theirs_found, queries), 0.5))
    connection.close()
    ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
    return [
        Row(f"docs.search of 1 to 5 words over {PAGES:,} pages, p50", spread(ours, "ms", 3),
            "SQLite FTS5, in memory: " + spread(theirs, "ms", 3), f"{ratio:.2f}", ""),
        Row(f"index of {PAGES:,} pages of {WORDS_A_PAGE} words, made once", f"{built_ms:.0f} ms",
            f"the same: {theirs_built_ms:.0f} ms", f"{built_ms / theirs_built_ms:.1f}", ""),
    ]  # fmt: skip
