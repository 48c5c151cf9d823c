"""KosmoKrator's spelling of a command: `integrations:lua` is `integrations lua`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_COLON = re.compile(r"(integrations|mcp):([a-z0-9_-]+)")


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """Give a command line with the colon of its command, if it has one, taken apart."""
    found = _COLON.fullmatch(arguments[0]) if arguments else None
    return [*found.groups(), *arguments[1:]] if found else list(arguments)
