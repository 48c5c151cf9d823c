"""
Processes of ours that start warm: forks in which the libraries are loaded already.

Run as `python -m tests.warm_host FD`. Each message on socket FD brings, as descriptors: the request
(JSON), where to write the exit code, stdin, stdout, stderr, and what else the process shall have.
The fork is then what `python -m MODULE ARGUMENTS` is: a process with a pid, environment, directory,
streams and end of its own, that shares with its siblings only what was read and compiled once.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

import httpx2

from integrations.catalog import Catalog
from tests import kept

#: None of these reads the environment, starts a thread or opens a file while it is imported. The
#: modules of the commands are not here: each process shows again that they import what they use.
PRELOADED = (
    *("anyio._backends._asyncio", "concurrent.futures", "logging.config", "sqlite3", "rich.table"),
    *("moonsand.cli", "api.main", "worker.main", "worker.local", "scheduler.main"),
    *("worker.sequencing", "worker.replay", "httpx2", "core.logs"),
)


def main(control: socket.socket) -> dict[str, Any]:
    """Fork until the other end is closed; in forks, give what was asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the Ctrl-C of a terminal is not for us
    for name in PRELOADED:
        importlib.import_module(name)
    kept.keep()
    Catalog.load()
    httpx2.create_ssl_context(trust_env=False)
    httpx2.create_ssl_context()
    gc.collect()
    gc.freeze()  # else each fork copies everything when it collects
    running: dict[int, tuple[int, int]] = {}
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    while True:
        for ready, _ in waiting.poll():
            if ready != control.fileno():
                waiting.unregister(ready)
                _report(ready, *running.pop(ready))
                continue
            _, given, _, _ = socket.recv_fds(control, 1, 16)
            if not given:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                control.detach()
                return _become(given)
            watched = os.pidfd_open(pid)
            running[watched] = pid, given.pop(1)
            waiting.register(watched, select.POLLIN)
            for one in given:
                os.close(one)
            control.send(str(pid).encode())


def _report(watched: int, pid: int, ended: int) -> None:
    _, status = os.waitpid(pid, 0)
    os.close(watched)
    with suppress(BrokenPipeError):  # nobody asks any more
        os.write(ended, str(os.waitstatus_to_exitcode(status)).encode())
    os.close(ended)


def _become(given: list[int]) -> dict[str, Any]:
    """Take the environment, place and descriptors that were given; let go of all else."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(given[0], "rb", closefd=False) as file:
        asked: dict[str, Any] = json.loads(file.read())
    # First out of the way of the numbers that they are to have.
    high = [os.dup2(one, 500 + place, inheritable=True) for place, one in enumerate(given[2:])]
    os.closerange(3, 500)
    wanted = [0, 1, 2, *asked["pass_fds"]]
    for one, number in zip(high, wanted, strict=True):
        os.dup2(one, number)
        os.close(one)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    _open_streams(unbuffered=bool(os.environ.get("PYTHONUNBUFFERED")))
    return asked


def _open_streams(*, unbuffered: bool) -> None:
    """Open the three streams as an interpreter does when it starts."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before: io.TextIOWrapper = getattr(sys, name)
        binary = open(  # noqa: SIM115
            number,
            "rb" if number == 0 else "wb",
            buffering=0 if unbuffered and number > 0 else -1,
            closefd=False,
        )
        stream = io.TextIOWrapper(
            binary,
            encoding=before.encoding,
            errors=before.errors,
            line_buffering=name == "stderr" or binary.isatty(),
            write_through=unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def run(asked: dict[str, Any]) -> None:
    """
    Run a module to its end, and leave as an interpreter does.

    All but one step of it: what was loaded before the fork is not taken apart, which costs ten
    times as much as the fork.
    """
    sys.argv = ["-m", *asked["arguments"]]
    code = None
    try:
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code
    vars(threading)["_shutdown"]()
    atexit._run_exitfuncs()
    gc.collect()  # of what the module itself has left
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    run(main(socket.socket(fileno=int(sys.argv[1]))))
