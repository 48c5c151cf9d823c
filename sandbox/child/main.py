"""
The hostile half of the sandbox: runs one Lua script for the supervisor, then is gone.

Runs in: child; `preload` in the zygote, before any fork. Trusts: the supervisor's frames.
Refuses: a second script. May import: stdlib, lupa, re2, sandbox.wire and the vocabulary.
"""

from __future__ import annotations

import os
from typing import NoReturn

from sandbox.child.channel import Channel, HungUp
from sandbox.child.confinement import address_space_bytes, arm
from sandbox.child.runtime import EXIT_BROKEN, EXIT_HUNG_UP, EXIT_NO_MEMORY, Engine
from sandbox.limits import Limits

_engine: Engine | None = None
_mapped_bytes = 0


def preload() -> None:
    """
    Build the Lua state and its prelude, so that every fork inherits it ready.

    Raises:
        WrongEngine: lupa or its Lua is not the pinned one.
    """
    global _engine, _mapped_bytes  # noqa: PLW0603 (one state a process, inherited by its forks)
    _engine = Engine()
    _mapped_bytes = address_space_bytes()


def serve(fd: int) -> NoReturn:
    """Read START from `fd`, run the script under its limits, tell the end, leave the process."""
    try:
        if _engine is None:
            os._exit(EXIT_BROKEN)
        channel = Channel(fd)
        header, script, given = channel.start()
        arm(Limits.from_json(header["limits"]), _mapped_bytes)
        _engine.run(channel, header, script, given)
    except HungUp:
        os._exit(EXIT_HUNG_UP)
    except MemoryError:
        os._exit(EXIT_NO_MEMORY)
    finally:
        os._exit(EXIT_BROKEN)
