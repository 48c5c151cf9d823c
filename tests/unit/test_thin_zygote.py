"""What a fork of the zygote costs is paid by every run, so what the zygote loads is watched."""

from __future__ import annotations

import subprocess
import sys

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


def test_nothing_runs_python_after_each_fork() -> None:
    """
    The zygote loads no module that hooks into fork, nor one that a child pays for in memory.

    threading and random double the cost of a fork. dataclasses, pathlib and socket with all that
    they load are a quarter of what a fork has in its page tables.
    """
    paths = "import sys; sys.path[:0] = " + repr([p for p in sys.path if p]) + "\n"
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", paths + _LOAD],
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.split("\n")[:2] == ["[]", "0"], told
