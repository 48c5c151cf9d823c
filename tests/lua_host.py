"""
Forks Lua children without a jail, for tests: `python -m tests.lua_host FD`.

A process of its own, because fakeredis loads another Lua with global symbols into the test process,
and two Lua versions in one process crash each other.
"""

from __future__ import annotations

import os
import socket
import sys

from sandbox.child import main as child


def main(control_fd: int) -> None:
    """Take a socket, run a child on it, give its exit code; until the control socket closes."""
    control = socket.socket(fileno=control_fd)
    child.preload()
    while True:
        asked, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not asked:
            return
        pid = os.fork()
        if pid == 0:
            control.close()
            child.serve(fds[0])
        os.close(fds[0])
        _, status = os.waitpid(pid, 0)
        control.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
