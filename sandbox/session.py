"""
What one child may say, in which order, and how much: the judge of its words.

Runs in: supervisor. Trusts: nobody. Refuses: any frame out of order, over a limit, malformed, or
after the end. May import: stdlib.

No descriptor, clock or process here: bytes in, events out, so that garbage can be thrown at it by
the million.
"""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass

from sandbox import child_json, wire
from sandbox.calls import Call
from sandbox.limits import Limits
from sandbox.outcome import CLAIMABLE, Fault, Reason

#: Calls that may be unanswered at once; the child's prelude keeps to the same number.
MAX_OUTSTANDING = 64
#: What may end a child while it waits for replies: only limits that it counts itself. A script
#: that returns or fails has all its replies.
_AT_ANY_TIME = {
    Reason.INSTRUCTION_LIMIT,
    Reason.MEMORY_LIMIT,
    Reason.OUTPUT_LIMIT,
    Reason.CALL_LIMIT,
}

#: Levels around a value: [.., .., .., [value]] in a call, a list of several results, an object.
_CALL_LEVELS, _RESULT_LEVELS, _FAILED_LEVELS = 2, 1, 1
_MOST_LINES = 1 << 31

_ESCAPED = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


@dataclass(frozen=True, slots=True)
class Printed:
    """Printed text, valid Unicode, control characters other than newline and tab escaped."""

    text: str


@dataclass(frozen=True, slots=True)
class Over:
    """A limit that the parent counts was passed; the child must die."""

    reason: Reason
    used: int
    allowed: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The child's own word about its end. What the supervisor saw overrides it."""

    reason: Reason
    instructions: int
    memory_bytes: int
    result: bytes = b"null"
    fault: Fault | None = None


Event = Printed | Call | Over | Claim


class Session:
    """The conversation with one child, from its first frame to its last."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        maxima = {
            wire.Type.PRINT: max(1, limits.output_bytes),
            wire.Type.DONE: wire.end_size(limits.result_bytes),
        }
        self._decoder = wire.Decoder("child", maxima)
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._outstanding: set[int] = set()
        self.calls = 0
        self.output_bytes = 0
        self.claim: Claim | None = None

    @property
    def awaited(self) -> frozenset[int]:
        """Give the numbers of the calls whose replies the child waits for."""
        return frozenset(self._outstanding)

    @property
    def partial(self) -> bool:
        """Tell whether the child stopped in the middle of a frame."""
        return self._decoder.partial

    def receive(self, data: bytes) -> list[Event]:
        """
        Take what the child sent and give what it means, in order.

        Raises:
            WireError: the child broke the protocol.
        """
        if self.claim is not None:
            raise wire.WireError("bytes after the last frame")
        events: list[Event] = []
        for kind, payload in self._decoder.feed(data):
            if self.claim is not None:
                raise wire.WireError(f"{kind.name} after the last frame")
            event = self._take(kind, payload)
            if event is not None:
                events.append(event)
        if self.claim is not None and self._decoder.partial:
            raise wire.WireError("bytes after the last frame")
        return events

    def answered(self, seq: int) -> None:
        """
        Note that call `seq` has its reply.

        Raises:
            KeyError: it was never made, or is answered already; that is our mistake.
        """
        self._outstanding.remove(seq)

    def _take(self, kind: wire.Type, payload: bytes) -> Event | None:
        if kind is wire.Type.PRINT:
            return self._printed(payload)
        if kind is wire.Type.CALL:
            return self._called(payload)
        claim = _done(payload, self._limits.depth) if kind is wire.Type.DONE else _failed(payload)
        if self._outstanding and claim.reason not in _AT_ANY_TIME:
            waits = len(self._outstanding)
            raise wire.WireError(f"{kind.name} ({claim.reason}) while {waits} replies were awaited")
        self.claim = claim
        return claim

    def _printed(self, payload: bytes) -> Event | None:
        if not payload:
            raise wire.WireError("PRINT of nothing")
        self.output_bytes += len(payload)
        if self.output_bytes > self._limits.output_bytes:
            return Over(Reason.OUTPUT_LIMIT, self.output_bytes, self._limits.output_bytes)
        text = self._text.decode(payload).translate(_ESCAPED)
        return Printed(text) if text else None

    def _called(self, payload: bytes) -> Event:
        seq, body = wire.unpack_call(payload)
        if seq != self.calls + 1:
            raise wire.WireError(f"call {seq} after call {self.calls}")
        if seq > self._limits.calls:
            return Over(Reason.CALL_LIMIT, seq, self._limits.calls)
        if len(self._outstanding) >= MAX_OUTSTANDING:
            raise wire.WireError(f"CALL while {MAX_OUTSTANDING} replies were awaited")
        self.calls = seq
        self._outstanding.add(seq)
        match child_json.parse(body, self._limits.depth + _CALL_LEVELS):
            case [str(integration), None | str() as account, str(function), list(arguments)] if (
                max(len(integration), len(account or ""), len(function)) <= wire.MAX_NAME
            ):
                text = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)
                return Call(seq, integration, function, account, text.encode())
        raise wire.WireError("CALL is not [integration, account, function, [arguments]]")


def _done(payload: bytes, depth: int) -> Claim:
    instructions, memory_bytes, body = wire.unpack_end(payload)
    child_json.parse(body, depth + _RESULT_LEVELS)
    return Claim(Reason.OK, instructions, memory_bytes, result=body)


def _failed(payload: bytes) -> Claim:
    instructions, memory_bytes, body = wire.unpack_end(payload)
    match child_json.parse(body, _FAILED_LEVELS):
        case {
            "reason": str(reason),
            "message": str(message),
            "line": None | int() as line,
            "hint": None | str() as hint,
        } if reason in CLAIMABLE and _is_line(line):
            fault = Fault(_clean(message), line, None if hint is None else _clean(hint))
            return Claim(Reason(reason), instructions, memory_bytes, fault=fault)
    raise wire.WireError("FAILED without a reason that a child may give")


def _is_line(line: int | None) -> bool:
    return line is None or (type(line) is int and 0 < line < _MOST_LINES)


def _clean(text: str) -> str:
    return text.encode()[: wire.MAX_MESSAGE].decode(errors="ignore").translate(_ESCAPED)
