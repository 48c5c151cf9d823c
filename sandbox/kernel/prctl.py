"""
Properties of a process set by prctl(2), and close_range(2).

Runs in: zygote, child, doctor. Trusts: the kernel. Refuses: nothing. May import: stdlib.
"""

from __future__ import annotations

import ctypes
import signal

from sandbox.kernel.libc import checked, function, system_call

SET_PDEATHSIG = 1
_GET_DUMPABLE = 3
_SET_DUMPABLE = 4
_SET_NO_NEW_PRIVS = 38
_GET_NO_NEW_PRIVS = 39

LAST_DESCRIPTOR = 0xFFFFFFFF

# prctl(2) is variadic and reads unsigned longs: without the types, ctypes would pass ints and
# leave the upper halves to chance, which some options refuse as EINVAL.
_UNSIGNED = ctypes.c_ulong
call = function("prctl", ctypes.c_int, _UNSIGNED, _UNSIGNED, _UNSIGNED, _UNSIGNED)

# 436 on every architecture (the common numbers begin at 424).
_close_range = system_call(436, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)


def set_no_new_privileges() -> None:
    """Make every later execve(2) unable to grant anything. Cannot be undone; inherited."""
    checked(call(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl PR_SET_NO_NEW_PRIVS")
    if call(_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        raise OSError(1, "prctl PR_SET_NO_NEW_PRIVS: said to be done and is not")


def die_with_parent() -> None:
    """
    Be killed when the thread that forked this process ends.

    Not inherited by a fork, and cleared by a change of user.
    """
    checked(call(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl PRSET_PDEATHSIG")


def set_dumpable(*, allowed: bool) -> None:
    """Allow or forbid core dumps, ptrace and /proc access by others of the same user."""
    checked(call(_SET_DUMPABLE, int(allowed), 0, 0, 0), "prctl PR_SET_DUMPABLE")


def is_dumpable() -> bool:
    """Tell whether others of the same user may read this process."""
    return checked(call(_GET_DUMPABLE, 0, 0, 0, 0), "prctl PR_GET_DUMPABLE") != 0


def close_between(first: int, last: int) -> None:
    """Close the descriptors *first* to *last*, both included; an empty range is fine."""
    if first <= last:
        checked(_close_range(first, last, 0), "close_range")


def close_from(first: int) -> None:
    """Close every descriptor from *first* on."""
    close_between(first, LAST_DESCRIPTOR)
