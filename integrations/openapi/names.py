"""Names that Lua and packs can use, made of whatever a document calls things."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection

from integrations.pack import LUA_KEYWORDS

MAX_NAME = 64
_RESERVED = LUA_KEYWORDS | {"default"}


def snake(text: str) -> str:
    """Give `get_pets_v2` for `getPets-V2`; empty when nothing of the text can be used."""
    plain = unicodedata.normalize("NFKD", text[:400]).encode("ascii", "ignore").decode()
    plain = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", plain)
    plain = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", plain)
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


def unique(text: str, fallback: str, taken: Collection[str]) -> str:
    """
    Give a usable name of at most 64 characters that is not taken.

    The same texts in the same order always give the same names. `fallback` is a usable word for
    texts of which nothing remains, and stands before those that begin with a digit.
    """
    name = snake(text) or fallback
    if not name[0].isalpha():
        name = f"{fallback}_{name}"
    if len(name) > MAX_NAME:
        name = f"{name[: MAX_NAME - 9].rstrip('_')}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if name in _RESERVED:
        name = f"{name}_"
    number = 2
    whole = name
    while name in taken:
        ending = f"_{number}"
        name = f"{whole[: MAX_NAME - len(ending)].rstrip('_')}{ending}"
        number += 1
    return name
