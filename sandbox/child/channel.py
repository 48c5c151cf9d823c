"""
The child's end of the socket: START in, output and calls out, one last frame.

Runs in: child. Trusts: the parent's frames. Refuses: nothing; it stops when the socket does.
May import: stdlib, sandbox.wire.

Output is held back until a piece is full, a call or the end is sent, or the hook finds it: few
frames, and still nothing printed is lost when the script hangs after it.
"""

from __future__ import annotations

import os
from typing import Any

from sandbox import wire

_PIECE = 16 * 1024


class HungUp(Exception):
    """The parent closed the socket: nobody waits for this run any more."""


class Channel:
    """Blocking frames over one descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held = bytearray()
        self._calls = 0

    def start(self) -> tuple[dict[str, Any], bytes, bytes]:
        """Wait for START: its header, the script, the input as JSON text."""
        return wire.unpack_start(self._receive())

    def call(self, body: bytes) -> tuple[bool, int, bytes]:
        """Send one call and wait for its reply: whether it is a value, the clock, JSON text."""
        self.flush()
        self._calls += 1
        self._send(wire.pack_call(self._calls, body))
        _, ok, clock_ms, text = wire.unpack_reply(self._receive())
        return ok, clock_ms, text

    def write(self, text: bytes) -> None:
        """Take printed text."""
        self._held += text
        if len(self._held) >= _PIECE:
            self.flush()

    def flush(self) -> None:
        """Send what is held back."""
        if self._held:
            self._send(wire.encode(wire.Type.PRINT, bytes(self._held)))
            self._held.clear()

    def end(self, kind: wire.Type, instructions: int, memory_bytes: int, body: bytes) -> None:
        """Send what is held back and the last frame."""
        self.flush()
        self._send(wire.pack_end(kind, instructions, memory_bytes, body))

    def _send(self, frame: bytes) -> None:
        left = memoryview(frame)
        while left:
            left = left[os.write(self._fd, left) :]

    def _receive(self) -> bytes:
        size, _ = wire.HEADER.unpack(self._exactly(wire.HEADER.size))
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = os.read(self._fd, size)
        if len(data) == size:
            return data
        parts = bytearray(data)
        while len(parts) < size:
            data = os.read(self._fd, size - len(parts))
            if not data:
                raise HungUp
            parts += data
        return bytes(parts)
