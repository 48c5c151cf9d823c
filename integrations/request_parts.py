"""What an adapter says of a request it wants sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RequestParts:
    """
    What an adapter sends: `path` with `{placeholders}` that are taken from `values`.

    `query` and `body` are JSON values; a list in `query` is sent as the key many times. `write`
    tells whether this request may change something; None: every method but GET may.
    """

    method: str
    path: str
    values: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    write: bool | None = None
