"""One part of an address: what a person gives as an id or a name stays one part of it."""

from __future__ import annotations

from urllib.parse import quote

from core.errors import Invalid


def path_part(text: str) -> str:
    """
    Escape an id or a name.

    Raises:
        Invalid: it is empty, or dots: `secrets/..` would be the address of what has the secrets.
    """
    if text in {"", ".", ".."}:
        raise Invalid(f"{text!a} names nothing that is kept")
    return quote(text, safe="")
