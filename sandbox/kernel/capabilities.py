"""
Capabilities of this thread: which it holds, and giving all of them up.

Runs in: zygote, doctor. Trusts: the kernel. Refuses: nothing. May import: stdlib.

Sets are whole numbers, one bit for each capability (bit 21 is CAP_SYS_ADMIN).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import NamedTuple

from sandbox.kernel import prctl
from sandbox.kernel.libc import checked, function

KILL = 5
SETGID = 6
SETUID = 7
SETPCAP = 8
SYS_CHROOT = 18
SYS_ADMIN = 21

_VERSION_3 = 0x20080522
_HIGHEST = 63

_CAPBSET_READ = 23
_CAPBSET_DROP = 24
_SET_SECUREBITS = 28
_AMBIENT = 47
_AMBIENT_IS_SET = 1
_AMBIENT_CLEAR_ALL = 4

# User id 0 grants nothing any more, a change of user drops capabilities as ever, none may be kept
# over it or made ambient; and all four locked so (linux/securebits.h).
_SECUREBITS_ALL_LOCKED = 0b1110_1011


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_Words = _Word * 2
_capget = function("capget", ctypes.POINTER(_Header), ctypes.POINTER(_Word))
_capset = function("capset", ctypes.POINTER(_Header), ctypes.POINTER(_Word))


class CapabilitySets(NamedTuple):
    """The five sets of a thread."""

    effective: int
    permitted: int
    inheritable: int
    bounding: int
    ambient: int


def read() -> CapabilitySets:
    """Give the sets that this thread has now."""
    words = _Words()
    checked(_capget(ctypes.byref(_Header(_VERSION_3, 0)), words), "capget")
    low, high = words
    return CapabilitySets(
        effective=low.effective | high.effective << 32,
        permitted=low.permitted | high.permitted << 32,
        inheritable=low.inheritable | high.inheritable << 32,
        bounding=_collect(lambda bit: prctl.call(_CAPBSET_READ, bit, 0, 0, 0)),
        ambient=_collect(lambda bit: prctl.call(_AMBIENT, _AMBIENT_IS_SET, bit, 0, 0)),
    )


def holds(*capabilities: int) -> bool:
    """Tell whether every one of *capabilities* is effective."""
    effective = read().effective
    return all(effective >> capability & 1 for capability in capabilities)


def close_ways_back() -> None:
    """
    Empty the bounding set and lock the secure bits, where this thread may.

    Where it may not, no_new_privs alone keeps capabilities from coming back.
    """
    if not holds(SETPCAP):
        return
    bounding = read().bounding
    for capability in range(_HIGHEST + 1):
        if bounding >> capability & 1:
            checked(prctl.call(_CAPBSET_DROP, capability, 0, 0, 0), "prctl PR_CAPBSET_DROP")
    checked(prctl.call(_SET_SECUREBITS, _SECUREBITS_ALL_LOCKED, 0, 0, 0), "prctl SECUREBITS")


def clear() -> None:
    """
    Give up every capability, for good.

    Raises:
        OSError: refused, or a set is not empty afterwards.
    """
    must_empty_bounding = holds(SETPCAP)
    close_ways_back()
    checked(prctl.call(_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl PR_CAP_AMBIENT_CLEAR_ALL")
    checked(_capset(ctypes.byref(_Header(_VERSION_3, 0)), _Words()), "capset")
    left = read()
    remaining = left.effective | left.permitted | left.inheritable | left.ambient
    if must_empty_bounding:
        remaining |= left.bounding
    if remaining:
        raise OSError(1, f"capset: said to be done, yet {remaining:#x} is left")


def _collect(is_set: Callable[[int], int]) -> int:
    found = 0
    for bit in range(_HIGHEST + 1):
        answer = is_set(bit)
        if answer == -1:  # past the last capability this kernel knows
            break
        found |= answer << bit
    return found
