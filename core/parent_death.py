"""
Replace this process with a command that ends when its parent ends.

Run as `python -I -S parent_death.py PARENT_PID COMMAND [ARGUMENT ...]`. On Linux the kernel is
asked to send SIGTERM when the parent dies, or SIGKILL for `--kill=PARENT_PID`; elsewhere only the
parent's own clean-up ends the command. A start-up program rather than a hook between fork and
exec: code of ours between the two could deadlock a parent that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    kill = sys.argv[1].startswith("--kill=")
    parent, command = int(sys.argv[1].removeprefix("--kill=")), sys.argv[2:]
    ending = signal.SIGKILL if kill else signal.SIGTERM
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, ending, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 (that is the point)


if __name__ == "__main__":
    main()
