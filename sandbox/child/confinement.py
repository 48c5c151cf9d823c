"""
The limits that the kernel keeps for one run: processor time and address space.

Runs in: child. Trusts: the kernel. Refuses: nothing; it can only lower. May import: stdlib,
sandbox.limit_specs.
"""

from __future__ import annotations

import resource
import signal

from sandbox.limit_specs import MIB

#: Address space of a zygote whose own cannot be read: what one was measured at, and some.
_USUAL_BYTES = 1024 * MIB
_SPARE_BYTES = 96 * MIB
# By their own names: each object on the way to them would be a page more that a fork copies.
_set_timer, _PROFILE = signal.setitimer, int(signal.ITIMER_PROF)
_set_limit, _CPU, _ADDRESS_SPACE = resource.setrlimit, resource.RLIMIT_CPU, resource.RLIMIT_AS


def address_space_bytes() -> int:
    """Give how much address space this process has mapped."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 (thin zygote)
            pages = int(statm.read().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_BYTES
    return pages * resource.getpagesize()


def arm(cpu_ms: int, room_bytes: int) -> None:
    """
    Start the processor clock of this run and bound its address space.

    The timer's default action kills: no handler runs, because none could run while Lua does. It
    comes a little late on purpose: the kernel charges it by whole ticks, which on a busy host runs
    far ahead of the time really used, and the parent's view of the clock is exact. The hard CPU
    limit stands behind both, for a process whose signals are ignored. `room_bytes` is what may be
    mapped in all.
    """
    _set_timer(_PROFILE, cpu_ms / 800 + 0.1)
    _lower(_CPU, cpu_ms // 1000 + 2)
    _lower(_ADDRESS_SPACE, room_bytes)


def rehearse(_cpu_ms: int, _room_bytes: int) -> None:
    """
    Do to this process, for nothing, what `arm` does: its limits are set to what they are.

    The arguments are those of `arm` and mean nothing.
    """
    for which in (_CPU, _ADDRESS_SPACE):
        _lower(which, resource.getrlimit(which)[0])
    _set_timer(_PROFILE, 3600.0)
    _set_timer(_PROFILE, 0.0)


def room_bytes(mapped_bytes: int, heap_bytes: int, copies_bytes: int) -> int:
    """
    Give the address space for a run: what was mapped, the Lua heap, Python's copies.

    The allocator may need twice the heap while a large block grows.
    """
    return mapped_bytes + 2 * heap_bytes + copies_bytes + _SPARE_BYTES


def _lower(which: int, value: int) -> None:
    try:
        _set_limit(which, (value, value))
    except ValueError:  # it is lower already
        _, hard = resource.getrlimit(which)
        _set_limit(which, (hard, hard))
