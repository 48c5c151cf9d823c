"""
The hostile half of the sandbox: runs one Lua script for the supervisor, then is gone.

Runs in: child; `preload` in the zygote, before any fork. Trusts: the supervisor's frames.
Refuses: a second script. May import: stdlib, lupa, re2, sandbox.wire and the vocabulary.
"""

from __future__ import annotations

import _socket
import os
from typing import NoReturn

from sandbox import wire
from sandbox.child.channel import Channel, HungUp
from sandbox.child.runtime import EXIT_BROKEN, EXIT_HUNG_UP, EXIT_NO_MEMORY, Engine

_engine: Engine | None = None
#: One for each number that a child's socket can have: made here, it is not made in each fork.
_channels = tuple(Channel(fd) for fd in range(64))
_REHEARSALS = 20


def preload() -> None:
    """
    Build the Lua state and its prelude, so that every fork inherits it ready.

    Raises:
        WrongEngine: lupa or its Lua is not the pinned one.
    """
    global _engine  # noqa: PLW0603 (one state a process, inherited by its forks)
    _engine = Engine()
    _rehearse(_engine)


def _rehearse(engine: Engine) -> None:
    """
    Go through what every run does, often enough for the interpreter to have specialised its code.

    It writes into code objects and its caches while it does; in a fork each such write would copy
    a page.
    """
    theirs, ours = _socket.socketpair()
    channel = Channel(ours.fileno())
    start = wire.pack_start({}, b"", b"null")
    for _ in range(_REHEARSALS):
        theirs.sendall(start)
        engine.rehearse(channel)
        theirs.recv(64)
    theirs.close()
    ours.close()


def serve(fd: int) -> NoReturn:
    """Read START from `fd`, run the script under its limits, tell the end, leave the process."""
    try:
        if _engine is not None:
            _engine.run(_channels[fd])
    except HungUp:
        os._exit(EXIT_HUNG_UP)
    except MemoryError:
        os._exit(EXIT_NO_MEMORY)
    finally:
        os._exit(EXIT_BROKEN)
