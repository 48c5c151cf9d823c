"""
What a run was executed with: the engine, and the policy of what scripts may do.

Runs in: worker. Trusts: the files of this installation. Refuses: nothing. May import: stdlib.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

_CHILD = Path(__file__).parent / "child"
_SOURCES = {".py", ".lua"}


@cache
def versions() -> dict[str, str]:
    """
    Give `moonsand`, `engine` and `policy`.

    `policy` is the SHA-256 of all that the child runs of ours, in order of name: each file's name,
    a zero byte, the SHA-256 of its bytes. Two installations with one policy treat a script alike.
    """
    digest = hashlib.sha256()
    files = (path for path in _CHILD.rglob("*") if path.suffix in _SOURCES)
    for path in sorted(files, key=lambda path: path.relative_to(_CHILD).as_posix()):
        name = path.relative_to(_CHILD).as_posix()
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return {
        "moonsand": version("moonsand"),
        "engine": f"Lua 5.4, lupa {version('lupa')}",
        "policy": digest.hexdigest(),
    }
