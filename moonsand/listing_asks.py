"""Asking for lists a page at a time, and for what has no answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from moonsand.exchange import Ask

T = TypeVar("T")

#: Some of a list, and the cursor of the next page, None on the last.
Page = tuple[list[T], str | None]


def listing(
    where: str, read: Callable[[Any], T], cursor: str | None, limit: int = 100
) -> Ask[Page[T]]:
    """Ask for a page of what is listed at `where`."""
    params: Mapping[str, str] = {} if cursor is None else {"cursor": cursor}

    def read_page(found: Any) -> Page[T]:
        return [read(one) for one in found["data"]], found.get("next_cursor")

    return Ask("GET", where, read_page, params={"limit": str(limit), **params})


def nothing(_: Any) -> None:
    """Take an answer without a body."""
