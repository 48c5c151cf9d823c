"""
Do something in a forked child that is thrown away, and hear how it went.

Runs in: zygote (before it is ready), doctor. Trusts: the function it is given. Refuses: to wait
longer than the deadline. May import: stdlib.
"""

from __future__ import annotations

import _socket
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

_DEADLINE_S = 20.0


class Trial(NamedTuple):
    """What a throw-away child sent before it ended, and its wait status."""

    said: bytes
    status: int

    @property
    def killed_by(self) -> int | None:
        """Give the signal that ended the child; None when it left by itself."""
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None


def run(act: Callable[[_socket.socket], None]) -> Trial:
    """
    Fork, let the child call *act* with its end of a socket pair, and collect what it sends.

    What *act* raises ends the child with status 1 and is not told; it must send what matters.
    """
    ours, theirs = _socket.socketpair()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            act(theirs)
            code = 0
        finally:
            os._exit(code)
    theirs.close()
    pidfd = os.pidfd_open(pid)
    try:
        said = _read_to_end(ours)
        # A child may close its socket and stay: waiting for it has the same deadline.
        if not select.select([pidfd], [], [], _DEADLINE_S)[0]:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        ours.close()
        os.close(pidfd)
    return Trial(said, status)


def _read_to_end(end: _socket.socket) -> bytes:
    deadline = time.monotonic() + _DEADLINE_S
    said = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([end], [], [], left)[0]:
            break
        chunk = end.recv(65536)
        if not chunk:
            break
        said += chunk
    return said
