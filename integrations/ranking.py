"""Okapi BM25 over a few thousand pages in memory."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from heapq import nsmallest

_WORD = re.compile(r"[a-z0-9]+")
_K1 = 1.2
_B = 0.75
#: Words of a query beyond this many are ignored.
MAX_QUERY_WORDS = 32


def words_of(text: str) -> list[str]:
    """
    Give the words of a text, lower case; a plural counts as its singular.

    `list_assets` gives `list`, `asset`: people ask in words, not in identifiers.
    """
    return [
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
        for word in _WORD.findall(text.lower())
    ]


class Ranking:
    """An index of texts by key. Built once; a search reads only the lists of its own words."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._postings: dict[str, list[tuple[str, int]]] = defaultdict(list)
        lengths: dict[str, int] = {}
        for key, text in texts.items():
            counts = Counter(words_of(text))
            lengths[key] = counts.total()
            for word, count in counts.items():
                self._postings[word].append((key, count))
        average = max(1.0, sum(lengths.values()) / max(1, len(lengths)))
        # How much the length of a text takes off what a word in it is worth.
        self._norms = {
            key: _K1 * (1 - _B + _B * length / average) for key, length in lengths.items()
        }

    def search(self, query: str, limit: int) -> list[tuple[str, float]]:
        """Give up to `limit` keys with their scores, best first; ties in order of the key."""
        scores: dict[str, float] = defaultdict(float)
        norms, total = self._norms, len(self._norms)
        for word in dict.fromkeys(words_of(query)[:MAX_QUERY_WORDS]):
            postings = self._postings.get(word, [])
            rarity = math.log(1 + (total - len(postings) + 0.5) / (len(postings) + 0.5))
            worth = rarity * (_K1 + 1)
            for key, count in postings:
                scores[key] += worth * count / (count + norms[key])
        return nsmallest(limit, scores.items(), key=lambda pair: (-pair[1], pair[0]))
