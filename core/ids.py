"""Ids: sortable by time, safe in URLs, without meaning to anyone but us."""

from __future__ import annotations

import re
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_ID = re.compile(r"^[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}$")


def new_id(prefix: str, *, now_ms: int | None = None) -> str:
    """
    Make an id `prefix_<26 characters>`: 48 bits of Unix milliseconds, then 80 random bits.

    Ids made later sort later, to the millisecond.
    """
    stamp = int(time.time() * 1000) if now_ms is None else now_ms
    return id_of(prefix, stamp, secrets.randbits(80))


def id_of(prefix: str, stamp_ms: int, rest: int) -> str:
    """Make the id that has these Unix milliseconds and, in the place of random bits, `rest`."""
    number = (stamp_ms & (1 << 48) - 1) << 80 | rest & (1 << 80) - 1
    digits = [_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def is_id(text: str, prefix: str) -> bool:
    """Tell whether `text` has the shape of an id with this prefix."""
    return text.startswith(f"{prefix}_") and _ID.fullmatch(text) is not None
