"""Okapi BM25 over a few thousand pages in memory."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping

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
        self._lengths: dict[str, int] = {}
        for key, text in texts.items():
            counts = Counter(words_of(text))
            self._lengths[key] = counts.total()
            for word, count in counts.items():
                self._postings[word].append((key, count))
        self._average = sum(self._lengths.values()) / max(1, len(self._lengths))

    def search(self, query: str, limit: int) -> list[tuple[str, float]]:
        """Give up to `limit` keys with their scores, best first; ties in order of the key."""
        scores: dict[str, float] = defaultdict(float)
        for word in dict.fromkeys(words_of(query)[:MAX_QUERY_WORDS]):
            postings = self._postings.get(word, [])
            total = len(self._lengths)
            rarity = math.log(1 + (total - len(postings) + 0.5) / (len(postings) + 0.5))
            for key, count in postings:
                norm = _K1 * (1 - _B + _B * self._lengths[key] / self._average)
                scores[key] += rarity * count * (_K1 + 1) / (count + norm)
        return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
