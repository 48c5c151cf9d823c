"""
How often a run called each integration, as its tape tells.

Runs in: sequencer, CLI. Trusts: nothing: a name on a tape may be anything. Refuses: to repeat a
name that cannot be an integration's, or more than so many. May import: stdlib.

Only calls that were begun count, each once, however often it was sent again: a call that was
refused may bear any name that a script made up, and a leaf can never be deleted.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

OTHER = "other"
_MAX = 64
_INTEGRATION = re.compile(r"(mcp\.[a-z][a-z0-9_-]{0,63}|[a-z][a-z0-9_]{0,63})\.[^.]")


@dataclass(slots=True)
class Called:
    """The calls of one run that were begun, by their numbers."""

    _by_seq: dict[Any, str] = field(default_factory=dict)

    def note(self, seq: Any, name: Any) -> None:
        """Take note of the intent of call `seq`, of a function such as `mux.create_asset`."""
        if isinstance(seq, int):
            self._by_seq.setdefault(seq, integration_of(name))

    def to_json(self) -> dict[str, int]:
        """Give how many calls there were by integration, in order of names."""
        counted = Counter(self._by_seq.values())
        kept = dict(counted.most_common(_MAX))
        left = counted.total() - sum(kept.values())
        if left:
            kept[OTHER] = kept.get(OTHER, 0) + left
        return dict(sorted(kept.items()))


def integration_of(name: Any) -> str:
    """Give the integration of a function's full name; `other` of what is no such name."""
    found = _INTEGRATION.match(name) if isinstance(name, str) else None
    return OTHER if found is None else found[1]
