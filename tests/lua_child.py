"""A Lua child without its jail, forked by a host process: for tests of the Lua surface."""

from __future__ import annotations

import atexit
import functools
import json
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox import wire
from sandbox.limits import Limits

SURFACE = {"demo": {"functions": ["echo", "fail"], "accounts": ["default", "work"]}}
CLOCK_MS = 1_700_000_000_000

#: Chooses, of the numbers of unanswered calls, whose reply comes next; None: none of them yet.
Choose = Callable[[list[int]], int | None]
#: How long a child must say nothing before it gets the next reply of a chosen order.
_QUIET_S = 0.003

#: Answers a call, `[integration, account, function, [arguments]]`: whether it is a value, and it.
Answer = Callable[[list[Any]], tuple[bool, Any]]


@dataclass
class Ended:
    """How one script ended, in the child's own words."""

    reason: str = "none"
    text: str = ""
    message: str = ""
    line: int | None = None
    hint: str | None = None
    output: bytes = b""
    instructions: int = 0
    memory_bytes: int = 0
    calls: list[list[Any]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    exit_code: int = 0
    replied: list[int] = field(default_factory=list)
    most_in_flight: int = 0

    @property
    def value(self) -> Any:
        """The result. Fails when there is none, and says why."""
        assert self.reason == "ok", f"{self.reason} at line {self.line}: {self.message}"
        return json.loads(self.text)

    @property
    def printed(self) -> str:
        """The output as text."""
        return self.output.decode()


def demo(call: list[Any]) -> tuple[bool, Any]:
    """`echo` gives its first argument back, `fail` fails."""
    if call[2] == "fail":
        return False, {"code": "failed", "message": "demo.fail failed", "status": 500}
    return True, call[3][0] if call[3] else None


def run_lua(
    script: str | bytes,
    given: str = "null",
    *,
    limits: Limits | None = None,
    answer: Answer = demo,
    choose: Choose | None = None,
    **header: Any,
) -> Ended:
    """
    Run one script to its end in a fresh child; `header` replaces fields of START.

    Calls are answered as they come, or in the order of `choose`, told in `replied`.
    """
    control = _host()
    theirs, ours = socket.socketpair()
    with theirs:
        with ours:
            socket.send_fds(control, [b"r"], [ours.fileno()])
        ended = _converse(theirs, _start(script, given, limits, header), answer, choose)
    ended.exit_code = int(control.recv(16))
    return ended


@functools.cache
def _host() -> socket.socket:
    """Start the host, once; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.lua_host", str(theirs.fileno())]
        host = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=Path(__file__).parents[1])
    atexit.register(_end, host, ours)
    return ours


def _end(host: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()
    host.wait()


def _start(
    script: str | bytes, given: str, limits: Limits | None, header: Mapping[str, Any]
) -> bytes:
    told: dict[str, Any] = {
        "name": "script",
        "limits": (limits or Limits()).to_json(),
        "seed": 1,
        "clock_ms": CLOCK_MS,
        **header,
    }
    surface = json.dumps(told.pop("surface", SURFACE)).encode()
    source = script if isinstance(script, bytes) else script.encode()
    return wire.pack_start(told, source, given.encode(), surface)


def replay(order: list[int]) -> Choose:
    """Choose what was recorded, one after another."""
    left = list(order)

    def choose(waiting: list[int]) -> int | None:
        return left.pop(0) if left and left[0] in waiting else None

    return choose


def _converse(theirs: socket.socket, start: bytes, answer: Answer, choose: Choose | None) -> Ended:
    theirs.sendall(start)
    decoder, ended, waiting = wire.Decoder("child"), Ended(), dict[int, bytes]()
    while True:
        if waiting and not select.select([theirs], [], [], _QUIET_S if choose else 0)[0]:
            seq = choose(sorted(waiting)) if choose else min(waiting)
            if seq is not None:
                with suppress(BrokenPipeError, ConnectionResetError):  # dead; its last is to read
                    theirs.sendall(waiting.pop(seq))
                ended.replied.append(seq)
                continue
        try:
            data = theirs.recv(1 << 20)
        except ConnectionResetError:  # it left without reading a reply
            data = b""
        if not data:
            return ended
        for kind, payload in decoder.feed(data):
            _take(ended, kind, payload, answer, waiting)


def _take(
    ended: Ended, kind: wire.Type, payload: bytes, answer: Answer, waiting: dict[int, bytes]
) -> None:
    ended.order.append(kind.name)
    if kind is wire.Type.PRINT:
        ended.output += payload
    elif kind is wire.Type.CALL:
        seq, body = wire.unpack_call(payload)
        ended.calls.append(json.loads(body))
        ok, value = answer(ended.calls[-1])
        text = json.dumps(value, ensure_ascii=False).encode()
        waiting[seq] = wire.pack_reply(seq, text, ok=ok, clock_ms=CLOCK_MS + 1000 * seq)
        ended.most_in_flight = max(ended.most_in_flight, len(waiting))
    else:
        _take_end(ended, kind, payload)


def _take_end(ended: Ended, kind: wire.Type, payload: bytes) -> None:
    ended.instructions, ended.memory_bytes, body = wire.unpack_end(payload)
    if kind is wire.Type.DONE:
        ended.reason, ended.text = "ok", body.decode()
        return
    told = json.loads(body)
    ended.reason, ended.message = told["reason"], told["message"]
    ended.line, ended.hint = told["line"], told["hint"]
