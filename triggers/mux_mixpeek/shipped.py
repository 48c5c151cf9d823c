"""
The scripts that come with the connector: their texts, and what each run of them may do.

Runs in: api, scheduler. Trusts: the package's own files. Refuses: nothing.
May import: stdlib.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_INCLUDE = "--#include "

#: One cycle of a sync; what became of one asset; making a bucket.
SYNC, ASSET, BUCKET = "sync", "asset", "bucket"
NAMES = (SYNC, ASSET, BUCKET)


@cache
def text_of(name: str) -> str:
    """Give a script's text; a line `--#include other` stands for that file's text."""
    lines = []
    for line in (_FOLDER / f"{name}.lua").read_text("utf-8").splitlines():
        if line.startswith(_INCLUDE):
            lines.append(text_of(line.removeprefix(_INCLUDE)).rstrip("\n"))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"
