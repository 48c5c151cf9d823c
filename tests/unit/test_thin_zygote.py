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
heavy = {"threading", "random", "subprocess", "tempfile", "asyncio", "logging"}
print(sorted(heavy & {*sys.modules}))
print(len(hooks))
"""


def test_nothing_runs_python_after_each_fork() -> None:
    """The zygote loads no module that hooks into fork: threading and random double its cost."""
    paths = "import sys; sys.path[:0] = " + repr([p for p in sys.path if p]) + "\n"
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", paths + _LOAD],
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.split("\n")[:2] == ["[]", "0"], told
