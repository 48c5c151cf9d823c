"""
The child's end of the socket: START in, output and calls out, one last frame.

Runs in: child. Trusts: the parent's frames. Refuses: nothing; it stops when the socket does.
May import: stdlib, sandbox.wire.

Output is held back until a piece is full, a call or the end is sent, or the hook finds it: few
frames, and still nothing printed is lost when the script hangs after it.
"""

from __future__ import annotations

import os
import struct

from sandbox import wire

_PIECE = 16 * 1024
# Plain numbers and ready packers: every Python object that a short run does not touch is a page
# of the zygote that is not copied. What is sent stays within the limits the prelude has checked.
_PRINT, _CALL = int(wire.Type.PRINT), int(wire.Type.CALL)
_DONE, _FAILED = int(wire.Type.DONE), int(wire.Type.FAILED)
_HEADER, _HEADER_BYTES = wire.HEADER, wire.HEADER.size
_SEQUENCE = struct.Struct("!I")
_COUNTS = struct.Struct("!QQ")


class HungUp(Exception):
    """The parent closed the socket: nobody waits for this run any more."""


class Channel:
    """Blocking frames over one descriptor."""

    __slots__ = ("_calls", "_fd", "_held")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held = bytearray()
        self._calls = 0

    def start(self) -> bytes:
        """
        Wait for START and give its payload, unread.

        The prelude takes it apart: Python's JSON parser would touch more memory of the zygote, and
        so copy more pages, than all the rest of a short run.
        """
        return self._receive()

    def send_call(self, body: bytes) -> int:
        """Send one call and give its number."""
        self.flush()
        self._calls += 1
        self._send(_CALL, _SEQUENCE.pack(self._calls) + body)
        return self._calls

    def reply(self) -> tuple[int, bool, int, bytes]:
        """Wait for the next reply: the call's number, whether it is a value, clock, JSON text."""
        self.flush()
        return wire.unpack_reply(self._receive())

    def write(self, text: bytes) -> None:
        """Take printed text."""
        self._held += text
        if len(self._held) >= _PIECE:
            self.flush()

    def flush(self) -> None:
        """Send what is held back."""
        if self._held:
            self._send(_PRINT, bytes(self._held))
            self._held.clear()

    def done(self, result: bytes, instructions: int, memory_bytes: int) -> None:
        """Send what is held back, and the result as the last frame."""
        self.flush()
        self._send(_DONE, _COUNTS.pack(instructions, memory_bytes) + result)

    def failed(self, body: bytes, instructions: int, memory_bytes: int) -> None:
        """Send what is held back, and the failure as the last frame."""
        self.flush()
        self._send(_FAILED, _COUNTS.pack(instructions, memory_bytes) + body)

    def _send(self, kind: int, payload: bytes) -> None:
        frame = _HEADER.pack(len(payload), kind) + payload
        sent = os.write(self._fd, frame)
        while sent < len(frame):
            sent += os.write(self._fd, memoryview(frame)[sent:])

    def _receive(self) -> bytes:
        size, _ = _HEADER.unpack(self._exactly(_HEADER_BYTES))
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
