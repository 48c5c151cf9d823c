"""
What a script sees of the integrations, as text: one input of its run.

Runs in: supervisor, worker, CLI. Trusts: its maker. Refuses: nothing. May import: stdlib.

The text is kept once by its digest, and the digest is on the tape: whoever executes the run over
its tape gives the script the same functions and accounts, whatever has been granted, added or
taken away since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from sandbox.calls import FunctionSurface


class Surface(dict[str, FunctionSurface]):
    """
    Maps an integration's name to what is granted of it. Never changed once it is made.

    Many runs share one: its text, which grows with the integrations, is written once for all.
    """

    @classmethod
    def of(cls, given: Mapping[str, FunctionSurface]) -> Self:
        """Give `given` itself if it is one, else make one."""
        return given if isinstance(given, cls) else cls(given)

    @classmethod
    def read(cls, text: bytes) -> Self:
        """
        Read a text; order included, since a script may go through it.

        Raises:
            ValueError, KeyError, TypeError: it is none that `text` gives.
        """
        try:
            whole: dict[str, dict[str, Any]] = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deep") from None
        return cls(
            {
                name: FunctionSurface(tuple(seen["functions"]), tuple(seen["accounts"]))
                for name, seen in whole.items()
            }
        )

    @cached_property
    def text(self) -> bytes:
        """JSON text; the same surface gives the same bytes."""
        whole = {
            name: {"functions": list(seen.functions), "accounts": list(seen.accounts)}
            for name, seen in self.items()
        }
        return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()

    @cached_property
    def sha256(self) -> str:
        """Digest of the text, hexadecimal, by which it is kept."""
        return digest_of(self.text)


def digest_of(text: bytes) -> str:
    """Give the digest by which a surface is kept."""
    return hashlib.sha256(text).hexdigest()
