"""Running the real `moonsand` command in a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests import warm

MOONSAND = [sys.executable, "-m", "moonsand"]
_GONE = (FileNotFoundError, ProcessLookupError)


def environment(home: Path | None = None, **more: str) -> dict[str, str]:
    """Give our environment without settings of ours; `home` is where local state is kept."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MOONSAND_") and name != "REDIS_URL"
    }
    if home is not None:
        clean["XDG_STATE_HOME"] = str(home)
    return clean | more


def moonsand(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: str = "", seconds: float = 45
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, in a process that starts warm (see `tests.warm`)."""
    env = environment() if env is None else env
    done = warm.run("moonsand", *arguments, env=env, stdin=stdin.encode(), seconds=seconds)
    return subprocess.CompletedProcess(
        done.args, done.returncode, _text(done.stdout), _text(done.stderr)
    )


def _text(content: bytes) -> str:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").read()


def is_running(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    stat = _told_of(Path(f"/proc/{pid}/stat"))
    return stat is not None and stat.rpartition(")")[2].split()[:1] != ["Z"]


def children(pid: int) -> dict[int, str]:
    """Give the processes that a process started, and theirs: pid to command line."""
    found: dict[int, str] = {}
    try:
        threads = [*Path(f"/proc/{pid}/task").iterdir()]
    except _GONE:
        return found
    for thread in threads:
        for child in (_told_of(thread / "children") or "").split():
            line = _told_of(Path(f"/proc/{child}/cmdline"))
            if line is not None:
                found |= {int(child): line.strip()} | children(int(child))
    return found


def _told_of(path: Path) -> str | None:
    """Give a file of a process; None if that has ended, also if between opening and reading."""
    try:
        return path.read_bytes().replace(b"\0", b" ").decode()
    except _GONE:
        return None
