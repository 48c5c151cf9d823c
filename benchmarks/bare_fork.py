"""
What a bare fork, exit and wait of the same zygote costs.

Prepared and confined exactly as the zygote is, so that the pages to copy and the libraries to map
are the same; then it forks children that do nothing.
"""

from __future__ import annotations

import gc
import os
import resource

import sandbox.child.main as child
from sandbox import jail
from sandbox.kernel import heap


def _cpu_s() -> float:
    mine = resource.getrusage(resource.RUSAGE_SELF)
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


def main(fd: int, count: int) -> None:
    """Fork `count` children that exit at once; write CPU microseconds per fork to `fd`."""
    plan = jail.prepare()
    child.preload()
    jail.confine_zygote(plan, (fd,))
    gc.collect()
    gc.disable()
    heap.fill_holes()
    gc.freeze()
    before = _cpu_s()
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    os.write(fd, f"{(_cpu_s() - before) / count * 1e6:.1f}".encode())
