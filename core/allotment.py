"""
What of its host this process may use: processors and memory, as far as it is bound.

A container's bounds are kept by control groups, version 2, and nothing else tells of them: a
process that counts the host's processors would take on many times what it can do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_VERSION_2 = "0::/"


def processors(groups: Path = _GROUPS, own: Path = _OWN) -> float:
    """
    Give how many processors' time this process gets at most; half a one is 0.5.

    `groups` is where control groups are mounted, `own` the file that names this process's.
    Source: Linux, Documentation/admin-guide/cgroup-v2.rst, `cpu.max`.
    """
    try:
        most = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS binds no process to processors
        most = float(os.cpu_count() or 1)
    for words in _bounds("cpu.max", groups, own):
        with suppress(ValueError, ZeroDivisionError):  # `max` is no number: nothing is bounded
            quota, period = map(int, words)
            most = min(most, quota / period)
    return most


def memory_bytes(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """
    Give how much memory this process and its children get at most, in bytes.

    The arguments are those of `processors`. Source: the same, `memory.max`.
    """
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for words in _bounds("memory.max", groups, own):
        with suppress(ValueError):
            (bound,) = map(int, words)
            most = min(most, bound)
    return most


def _bounds(file: str, groups: Path, own: Path) -> Iterator[list[str]]:
    """Give the words of a file of this process's group and of all that it is in."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            if line.startswith(_VERSION_2):
                inner = groups / line.removeprefix(_VERSION_2)
                for group in (inner, *inner.parents):
                    with suppress(OSError):  # there is none where nothing is bounded
                        yield (group / file).read_text().split()
                    if group == groups:
                        return
