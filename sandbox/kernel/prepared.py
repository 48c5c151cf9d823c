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
from dataclasses import dataclass
from typing import Any

_NUMBERS = {
    "x86_64": {"getppid": 110, "setsid": 112, "prctl": 157, "prlimit64": 302, "close_range": 436},
    "aarch64": {"getppid": 173, "setsid": 157, "prctl": 167, "prlimit64": 261, "close_range": 436},
}

_WARM_UP_ROUNDS = 64

# PyDLL neither gives up the interpreter lock around a call nor keeps a copy of errno: both touch
# memory, and a fork has one thread.
_LIBC = ctypes.PyDLL(None)
_system_call = _LIBC["syscall"]
_system_call.restype = ctypes.c_long
_errno_location = _LIBC["__errno_location"]
_errno_location.restype = ctypes.POINTER(ctypes.c_int)


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """
    One system call of a step: its raw arguments, and the answer it must give.

    `expect` is None where any answer but failure will do.
    """

    step: str
    arguments: tuple[ctypes.c_long, ...]
    expect: int | None = None
    kept_alive: Any = None


@dataclass(frozen=True, slots=True)
class Failure:
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
    raw = (_NUMBERS[machine][name], *arguments)
    return PreparedCall(step, tuple(_argument(one) for one in raw), expect, arguments)


def perform(calls: Iterable[PreparedCall]) -> Failure | None:
    """Make the calls in order; stop at the first that fails, and give it."""
    for call in calls:
        answer = _system_call(*call.arguments)
        if answer == -1:
            return Failure(call.step, os.strerror(_errno_location()[0]))
        if call.expect is not None and answer != call.expect:
            return Failure(call.step, f"the kernel answered {answer}, not {call.expect}")
    return None


def warm_up(machine: str) -> None:
    """
    Go through `perform` until the interpreter has specialised it and the linker bound its calls.

    Both write to memory the first times; done here, no fork has to copy those pages.
    """
    harmless = lay_out(machine, "warm-up", "getppid", expect=os.getppid())
    for _ in range(_WARM_UP_ROUNDS):
        perform((harmless, harmless))


def _argument(value: int | ctypes.Structure) -> ctypes.c_long:
    if isinstance(value, ctypes.Structure):
        return ctypes.c_long(ctypes.addressof(value))
    return ctypes.c_long(value)
