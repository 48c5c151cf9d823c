"""
Fill the holes of this process's memory, so that what its forks make anew lies side by side.

Runs in: zygote. Trusts: the C library. Refuses: nothing; where it does not tell about its heap,
only Python's is filled. May import: stdlib.

What was freed while the zygote got ready lies scattered over its heap, and allocators give it out
first: each small object that a fork makes is another page to copy. Taken and kept here, the holes
are about 100 KB; a fork then writes to the end of the heap, and copies 20 pages less.
"""

from __future__ import annotations

import ctypes

_LIBC = ctypes.PyDLL(None)
# Python gives memory out by size in steps of 16 bytes, up to 512, from pools of 16 KiB.
_STEP, _LARGEST, _POOL_BYTES = 16, 512, 16 * 1024
_FIRST_BLOCK = 48
_BYTES_HEAD = b"".__sizeof__()
# Above this the C library asks the kernel for memory of its own for each block.
_LARGEST_BLOCK = 120_000

_kept: list[object] = []


class Heap(ctypes.Structure):
    """`struct mallinfo2` of mallinfo(3); `keepcost` is what is free at the end of the heap."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def fill_holes() -> None:
    """Take all that is free below the end of the heap, and in Python's pools, and keep it."""
    for size in range(_STEP, _LARGEST + 1, _STEP):
        _fill_pools(size)
    try:
        tell, end_of_data = _LIBC["mallinfo2"], _LIBC["sbrk"]
    except AttributeError:  # not the GNU C library, or one before 2.33
        return
    tell.restype = Heap
    end_of_data.argtypes, end_of_data.restype = (ctypes.c_long,), ctypes.c_void_p
    _fill_blocks(end_of_data(0) - tell().keepcost)


def _fill_pools(size: int) -> None:
    """Make objects of one size until one is the first of a pool, or two pools are full."""
    for number in range(2 * _POOL_BYTES // size):
        made = _object_of(size, number)
        _kept.append(made)
        if id(made) % _POOL_BYTES == _FIRST_BLOCK:
            return


def _object_of(size: int, number: int) -> object:
    if size < _BYTES_HEAD:
        return object() if size == _STEP else float(number)
    return bytes(size - _BYTES_HEAD)


def _fill_blocks(top: int) -> None:
    """Take blocks of each size, the largest first, until none below `top` is left."""
    take, give_back = _LIBC["malloc"], _LIBC["free"]
    take.argtypes, take.restype = (ctypes.c_size_t,), ctypes.c_void_p
    give_back.argtypes, give_back.restype = (ctypes.c_void_p,), None
    size = _LARGEST_BLOCK
    while size >= _STEP:
        while (block := take(size)) is not None and block < top:
            pass
        give_back(block)
        size -= max(_STEP, size // 64 // _STEP * _STEP)
