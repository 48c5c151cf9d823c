"""
The limits that the kernel keeps for one run: processor time and address space.

Runs in: child. Trusts: the kernel. Refuses: nothing; it can only lower. May import: stdlib,
sandbox.limits.
"""

from __future__ import annotations

import resource
import signal
from pathlib import Path

from sandbox.limits import MIB

#: Address space of a zygote whose own cannot be read: what one was measured at, and some.
_USUAL_BYTES = 1024 * MIB
_SPARE_BYTES = 96 * MIB


def address_space_bytes() -> int:
    """Give how much address space this process has mapped."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
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
    signal.setitimer(signal.ITIMER_PROF, cpu_ms / 800 + 0.1)
    _lower(resource.RLIMIT_CPU, cpu_ms // 1000 + 2)
    _lower(resource.RLIMIT_AS, room_bytes)


def room_bytes(mapped_bytes: int, heap_bytes: int, copies_bytes: int) -> int:
    """
    Give the address space for a run: what was mapped, the Lua heap, Python's copies.

    The allocator may need twice the heap while a large block grows.
    """
    return mapped_bytes + 2 * heap_bytes + copies_bytes + _SPARE_BYTES


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
