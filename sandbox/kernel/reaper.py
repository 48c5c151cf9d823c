"""
Hearing of dead children and burying them, with as few objects as can be.

Runs in: zygote. Trusts: the kernel. Refuses: nothing. May import: stdlib.

A handler in Python and `os.wait4` do the same; but between two forks every page that is written to
is copied, and they touch twenty more: a frame for the handler, a socket to wake up, eighteen
numbers of which one is wanted.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

from sandbox.kernel.libc import checked

#: Size of what is read from the descriptor of `watch`: one note for all signals that are waiting.
NOTE_BYTES = 128

_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
# struct rusage, whose first four numbers are the seconds and microseconds in user and kernel mode.
_RUSAGE_BYTES = 144
_STATUS = struct.Struct("@i")
_TIMES = struct.Struct("@4l")

# Without a copy of errno, which would be one more thing to touch.
_LIBC = ctypes.PyDLL(None)
_status = ctypes.create_string_buffer(_STATUS.size)
_rusage = ctypes.create_string_buffer(_RUSAGE_BYTES)
_wait4 = _LIBC["wait4"]
_wait4.restype = ctypes.c_int
# Converted once: see `sandbox.kernel.prepared`.
_arguments = (
    ctypes.c_int.from_param(-1),
    ctypes.c_void_p.from_param(ctypes.addressof(_status)),
    ctypes.c_int.from_param(os.WNOHANG),
    ctypes.c_void_p.from_param(ctypes.addressof(_rusage)),
)


def watch() -> int:
    """
    Give a descriptor that is readable when a child has ended; SIGCHLD is blocked from now on.

    Source: signalfd(2).

    Raises:
        OSError: the kernel gives none.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    signals = ctypes.create_string_buffer(128)
    libc = ctypes.CDLL(None, use_errno=True)
    libc["sigemptyset"](signals)
    libc["sigaddset"](signals, int(signal.SIGCHLD))
    return checked(libc["signalfd"](-1, signals, _FLAGS), "signalfd")


def next_exit() -> tuple[int, int, int]:
    """
    Bury one dead child: its pid, its wait status, its processor time in microseconds.

    The pid is 0 while all that are left live, and -1 when there are none.
    """
    pid = _wait4(*_arguments)
    if pid <= 0:
        return pid, 0, 0
    user_s, user_us, system_s, system_us = _TIMES.unpack_from(_rusage)
    (status,) = _STATUS.unpack_from(_status)
    return pid, status, (user_s + system_s) * 1_000_000 + user_us + system_us
