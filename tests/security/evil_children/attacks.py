"""What hostile children are made of: the list of attacks, and the frames that they send."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from sandbox import wire
from sandbox.wire import Type

EVILS: dict[str, Callable[[int], None]] = {}


def evil(attack: Callable[[int], None]) -> Callable[[int], None]:
    """Register an attack under its own name."""
    EVILS[attack.__name__] = attack
    return attack


def send(fd: int, data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(fd, data) :]


def done(result: bytes = b'"ESCAPED"', instructions: int = 0, memory: int = 0) -> bytes:
    """Make a DONE frame."""
    return wire.pack_end(Type.DONE, instructions, memory, result)


def failed(reason: str) -> bytes:
    """Make a FAILED frame."""
    body = json.dumps({"reason": reason, "message": "", "line": None, "hint": None})
    return wire.pack_end(Type.FAILED, 0, 0, body.encode())


def call(seq: int, body: bytes = b'["demo",null,"echo",[1]]') -> bytes:
    """Make a CALL frame."""
    return wire.pack_call(seq, body)
