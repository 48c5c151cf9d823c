"""What a fork of the zygote costs is paid by every run, so what the zygote loads is watched."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_LOAD = """
import os, sys
hooks = []
os.register_at_fork = lambda **hook: hooks.append(hook)
import sandbox.zygote_main, sandbox.child.main, sandbox.jail
sandbox.jail.prepare()
sandbox.child.main.preload()
heavy = {
    "threading", "random", "subprocess", "tempfile", "asyncio", "logging",
    "dataclasses", "inspect", "pathlib", "socket", "urllib",
}
print(sorted(heavy & {*sys.modules}))
print(len(hooks))
"""


_FILL = """
import ctypes, gc
import sandbox.child.main
from sandbox.kernel import heap
sandbox.child.main.preload()
gc.collect()
heap.fill_holes()
tell = ctypes.PyDLL(None)["mallinfo2"]
tell.restype = heap.Heap
told = tell()
print(told.fordblks - told.keepcost)
"""


def _told_by(script: str) -> str:
    paths = "import sys; sys.path[:0] = " + repr([p for p in sys.path if p]) + "\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", paths + script],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another heap than the GNU one")
def test_what_a_fork_makes_lies_together() -> None:
    """Below the end of a ready zygote's heap next to nothing is free for a fork to be put into."""
    assert int(_told_by(_FILL)) < 4096


def test_nothing_runs_python_after_each_fork() -> None:
    """
    The zygote loads no module that hooks into fork, nor one that a child pays for in memory.

    threading and random double the cost of a fork. dataclasses, pathlib and socket with all that
    they load are a quarter of what a fork has in its page tables.
    """
    told = _told_by(_LOAD)

    assert told.split("\n")[:2] == ["[]", "0"], told
