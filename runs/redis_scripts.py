"""
The Redis Lua scripts (`runs/scripts/*.lua`): loading them, and running them on any connection.

A server forgets its scripts when it restarts, so every call must survive NOSCRIPT: the digest is
sent first, the text when the server does not know it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    import redis
    import redis.asyncio

_FOLDER = Path(__file__).parent / "scripts"
_INCLUDE = "--#include "

#: What Redis takes as an argument of a script.
Arg = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class RedisScript:
    """One script; all names of keys are in it or made from its arguments (no Redis Cluster)."""

    text: str
    sha1: str

    def run(self, client: redis.Redis, args: Sequence[Arg]) -> Any:
        """Run it on a blocking connection."""
        try:
            return client.evalsha(self.sha1, 0, *_plain(args))
        except NoScriptError:
            return client.eval(self.text, 0, *_plain(args))

    async def run_async(self, client: redis.asyncio.Redis, args: Sequence[Arg]) -> Any:
        """Run it on an asyncio connection."""
        try:
            return await cast("Any", client.evalsha(self.sha1, 0, *_plain(args)))
        except NoScriptError:
            return await cast("Any", client.eval(self.text, 0, *_plain(args)))


@cache
def load(name: str) -> RedisScript:
    """Load `runs/scripts/<name>.lua`; a line `--#include other` stands for that file's text."""
    text = "\n".join(_lines(name, set()))
    return RedisScript(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _lines(name: str, known: set[str]) -> Iterator[str]:
    if name in known:  # what two others include is there once
        return
    known.add(name)
    for line in (_FOLDER / f"{name}.lua").read_text("utf-8").splitlines():
        if line.startswith(_INCLUDE):
            yield from _lines(line.removeprefix(_INCLUDE), known)
        else:
            yield line


def _plain(args: Sequence[Arg]) -> Sequence[Any]:
    # redis-py types the arguments as str; its encoder takes all of these.
    return args
