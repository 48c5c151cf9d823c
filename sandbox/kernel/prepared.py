"""
System calls laid out ahead of time, to be made by a fork that should touch little memory.

Runs in: zygote (lays out), child (makes them). Trusts: the kernel. Refuses: nothing.
May import: stdlib.

After a fork every page that is written to is copied, and touching a Python object writes to it:
its reference count. Ordinary calls through `os`, `resource` and argument conversion touch about
60 pages to do what these do in 20; in a process that lives for a millisecond that is most of the
cost.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

_NUMBERS = {
    "x86_64": {"getppid": 110, "setsid": 112, "prctl": 157, "prlimit64": 302, "close_range": 436},
    "aarch64": {"getppid": 173, "setsid": 157, "prctl": 167, "prlimit64": 261, "close_range": 436},
}

# PyDLL neither gives up the interpreter lock around a call nor keeps a copy of errno: both touch
# memory, and a fork has one thread. Arguments are converted when a call is laid out: to do it at
# the call makes an object for each, and looks at the type of each number.
_LIBC = ctypes.PyDLL(None)
_MOST_ARGUMENTS = 5
_system_call = _LIBC["syscall"]
_system_call.restype = ctypes.c_long
_CONVERT = ctypes.c_long.from_param
_errno_location = _LIBC["__errno_location"]
_errno_location.restype = ctypes.POINTER(ctypes.c_int)
try:
    _fork = _LIBC["_Fork"]
except AttributeError:
    _fork = _LIBC["fork"]
_fork.argtypes = ()
_fork.restype = ctypes.c_int


class PreparedCall(NamedTuple):
    """
    One system call of a step: its number and arguments, converted, and the answer it must give.

    `expect` is None where any answer but failure will do. `kept_alive` holds what is passed by
    its address.
    """

    step: str
    arguments: tuple[Any, ...]
    expect: int | None
    kept_alive: tuple[ctypes.Structure, ...]


class Failure(NamedTuple):
    """The step whose call failed or answered wrongly, and why."""

    step: str
    why: str


def lay_out(
    machine: str,
    step: str,
    name: str,
    *arguments: int | ctypes.Structure,
    expect: int | None = None,
) -> PreparedCall:
    """Prepare the call *name*; a structure is passed as its address and kept alive."""
    structures = tuple(one for one in arguments if isinstance(one, ctypes.Structure))
    numbers = [
        ctypes.addressof(one) if isinstance(one, ctypes.Structure) else int(one)
        for one in arguments
    ]
    padding = [0] * (_MOST_ARGUMENTS - len(numbers))
    raw = (_NUMBERS[machine][name], *numbers, *padding)
    return PreparedCall(step, tuple(map(_CONVERT, raw)), expect, structures)


def fork() -> int:
    """
    Make a child of this process, by _Fork of the C library where it has one.

    Gives the pid, and 0 in the child.

    `os.fork` renews the locks of an interpreter that might have threads, and the C library's usual
    call its own. Only for a process with one thread and no hooks into fork, where there is nothing
    to renew: the child copies ten pages less.

    Raises:
        OSError: there is no room for another process.
    """
    pid: int = _fork()
    if pid == -1:
        number = _errno_location()[0]
        raise OSError(number, os.strerror(number))
    return pid


def perform(calls: Iterable[PreparedCall]) -> Failure | None:
    """Make the calls in order; stop at the first that fails, and give it."""
    for step, arguments, expect, _ in calls:
        answer = _system_call(*arguments)
        if answer == -1:
            return Failure(step, os.strerror(_errno_location()[0]))
        if expect is not None and answer != expect:
            return Failure(step, f"the kernel answered {answer}, not {expect}")
    return None
