"""
Frames between supervisor and child, and the table of messages.

Runs in: supervisor and child. Trusts: nobody; every received byte may be an attack.
Refuses: unknown types, over-size payloads, a sender's message from the other side, a message in
the wrong state or twice. May import: stdlib.

A frame is a 32-bit big-endian payload length, one byte of type, then the payload. The parent sends
START once, and one REPLY to each CALL, in any order; a reply carries the number of its call. The
child sends PRINT and CALL, up to a bound of calls without their replies, and ends with exactly one
DONE or FAILED, after which nothing may follow. While replies are awaited only FAILED for a limit
may be the end.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from sandbox.limit_specs import KIB, MIB, SPECS

HEADER = struct.Struct("!IB")
_LENGTH = struct.Struct("!I")
_REPLY = struct.Struct("!IBQ")
_COUNTS = struct.Struct("!QQ")

#: Longest name of an integration, account or function in a call, in characters.
MAX_NAME = 64
#: Longest message or hint of a FAILED frame, in bytes; longer ones are cut by the parent.
MAX_MESSAGE = 2 * KIB
#: Most bytes one CALL may carry: the JSON text of its arguments.
MAX_CALL = 1 * MIB


class Type(IntEnum):
    """Every message there is. Requests of the parent are below 16, the child's from 16 on."""

    START = 1
    REPLY = 2
    PRINT = 16
    CALL = 17
    DONE = 18
    FAILED = 19


class Rule(NamedTuple):
    """What may be said: by whom, how long, how often."""

    sender: str
    max_bytes: int
    once: bool = False
    terminal: bool = False


RULES: dict[Type, Rule] = {
    Type.START: Rule(
        "parent", 1 * MIB + SPECS["script_bytes"].maximum + SPECS["input_bytes"].maximum, once=True
    ),
    Type.REPLY: Rule("parent", _REPLY.size + SPECS["reply_bytes"].maximum),
    Type.PRINT: Rule("child", SPECS["output_bytes"].maximum),
    Type.CALL: Rule("child", _LENGTH.size + MAX_CALL),
    Type.DONE: Rule(
        "child", _COUNTS.size + SPECS["result_bytes"].maximum, once=True, terminal=True
    ),
    Type.FAILED: Rule("child", _COUNTS.size + 8 * KIB, once=True, terminal=True),
}


class WireError(Exception):
    """The peer broke the protocol. There is no way on but to end the conversation."""


def encode(kind: Type, *parts: bytes) -> bytes:
    """
    Make one frame of a type from the parts of its payload.

    Raises:
        WireError: the payload is longer than the type allows.
    """
    size = sum(map(len, parts))
    if size > RULES[kind].max_bytes:
        raise WireError(f"{kind.name} of {size} bytes; at most {RULES[kind].max_bytes} allowed")
    return b"".join((HEADER.pack(size, kind), *parts))


class Decoder:
    """
    Turns received bytes into frames, for messages of one sender only.

    Holds at most one frame and one received chunk. `maxima` narrows the longest payload of a type
    below the table's, for the limits of one run.
    """

    def __init__(self, sender: str, maxima: Mapping[Type, int] | None = None) -> None:
        self._sender = sender
        self._maxima = maxima or {}
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Tell whether the stream stands in the middle of a frame."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[tuple[Type, bytes]]:
        """
        Take received bytes and give the frames that are whole.

        Raises:
            WireError: unknown type, other side's type, or a length over the type's maximum. It is
                raised as soon as the header is there, before the payload is waited for.
        """
        buffer = self._buffer
        buffer += data
        frames: list[tuple[Type, bytes]] = []
        at, have = 0, len(buffer)
        while have - at >= HEADER.size:
            size, number = HEADER.unpack_from(buffer, at)
            kind = self._check(number, size)
            end = at + HEADER.size + size
            if end > have:
                break
            frames.append((kind, bytes(buffer[at + HEADER.size : end])))
            at = end
        if at:
            del buffer[:at]
        return frames

    def _check(self, number: int, size: int) -> Type:
        try:
            kind = Type(number)
        except ValueError:
            raise WireError(f"unknown message type {number}") from None
        rule = RULES[kind]
        if rule.sender != self._sender:
            raise WireError(f"{kind.name} may not come from the {self._sender}")
        allowed = min(rule.max_bytes, self._maxima.get(kind, rule.max_bytes))
        if size > allowed:
            raise WireError(f"{kind.name} of {size} bytes; at most {allowed} allowed")
        return kind


# --- payloads ---------------------------------------------------------------------------------


def pack_start(
    header: dict[str, Any], script: bytes, given: bytes, surface: bytes = b"{}"
) -> bytes:
    """Make START: `header` with the JSON text of `surface`, then script and input as they are."""
    sizes = {"script_bytes": len(script), "input_bytes": len(given)}
    head = json.dumps({**header, **sizes}, separators=(",", ":")).encode()
    text = b"".join((head[:-1], b',"surface":', surface, b"}"))
    return encode(Type.START, _LENGTH.pack(len(text)), text, script, given)


def end_size(result_bytes: int) -> int:
    """Give the size of a DONE payload whose result has so many bytes."""
    return _COUNTS.size + result_bytes


def pack_reply(seq: int, body: bytes, *, ok: bool, clock_ms: int) -> bytes:
    """Make REPLY to call `seq`; `body` is JSON text."""
    return encode(Type.REPLY, _REPLY.pack(seq, ok, clock_ms), body)


def unpack_reply(payload: bytes) -> tuple[int, bool, int, bytes]:
    """Take REPLY apart: sequence number, whether it is a value, clock, JSON text."""
    seq, ok, clock_ms = _REPLY.unpack_from(payload)
    return seq, bool(ok), clock_ms, payload[_REPLY.size :]


def pack_call(seq: int, body: bytes) -> bytes:
    """Make CALL: `body` is the JSON text `[integration, account, function, [arguments]]`."""
    return encode(Type.CALL, _LENGTH.pack(seq), body)


def unpack_call(payload: bytes) -> tuple[int, bytes]:
    """
    Take CALL apart: sequence number and JSON text, unread.

    Raises:
        WireError: the payload is too short.
    """
    if len(payload) < _LENGTH.size:
        raise WireError("CALL without a sequence number")
    return _LENGTH.unpack_from(payload)[0], payload[_LENGTH.size :]


def pack_end(kind: Type, instructions: int, memory_bytes: int, body: bytes) -> bytes:
    """Make DONE (body: the result) or FAILED (body: reason, message, line, hint)."""
    return encode(kind, _COUNTS.pack(instructions, memory_bytes), body)


def unpack_end(payload: bytes) -> tuple[int, int, bytes]:
    """
    Take DONE or FAILED apart: instructions, peak memory in bytes, JSON text, unread.

    Raises:
        WireError: the payload is too short.
    """
    if len(payload) < _COUNTS.size:
        raise WireError("an end without its counts")
    instructions, memory_bytes = _COUNTS.unpack_from(payload)
    return instructions, memory_bytes, payload[_COUNTS.size :]
