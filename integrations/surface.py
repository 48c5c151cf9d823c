"""
What a script sees of the integrations, as text: one input of its run.

The text is kept once by its digest, and the digest is on the tape: whoever executes the run over
its tape gives the script the same functions and accounts, whatever has been granted, added or
taken away since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from sandbox.calls import FunctionSurface

Surface = Mapping[str, FunctionSurface]


def encode_surface(surface: Surface) -> bytes:
    """Write a surface as JSON text; the same surface gives the same bytes."""
    whole = {
        name: {"functions": list(seen.functions), "accounts": list(seen.accounts)}
        for name, seen in surface.items()
    }
    return orjson.dumps(whole)


def decode_surface(text: bytes) -> dict[str, FunctionSurface]:
    """Read what `encode_surface` wrote; order included, since a script may go through it."""
    whole: dict[str, dict[str, Any]] = orjson.loads(text)
    return {
        name: FunctionSurface(tuple(seen["functions"]), tuple(seen["accounts"]))
        for name, seen in whole.items()
    }


def surface_digest(text: bytes) -> str:
    """Give the digest by which a surface is kept: sha-256, hexadecimal."""
    return hashlib.sha256(text).hexdigest()
