"""
The zygote process: confined once, then forks one jailed child for each run, off the hot path.

Runs in: zygote, a process of its own. Trusts: the supervisor that started it.
Refuses: to fork anything when a required step of the jail is missing.
May import: stdlib, sandbox.jail, sandbox.child (the only module that may).

Its one descriptor is a SOCK_SEQPACKET socket. From the supervisor: one byte, how many children to
fork. To the supervisor: the messages of `zygote_messages`.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn, Protocol, TypeVar

from sandbox import jail
from sandbox.child import main as lua_child
from sandbox.zygote_messages import CHILD_MESSAGE, EXIT_MESSAGE

T = TypeVar("T")

_NO_ROOM = {
    errno.EAGAIN,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.ETOOMANYREFS,
}
_PAUSE_S = 0.002


class ChildHalf(Protocol):
    """What a forked child runs; tests give hostile ones."""

    def preload(self) -> None:
        """Prepare, once, before the zygote is confined."""

    def serve(self, fd: int) -> NoReturn:
        """Run one script for the supervisor at the other end of `fd`."""


def main(control_fd: int, child: ChildHalf = lua_child) -> NoReturn:
    """Confine this process, say so, and fork on demand until the supervisor is gone."""
    control = socket.socket(fileno=control_fd)
    try:
        wake_read, wake_write = _watch_children()
        plan = jail.prepare()
        child.preload()
        jail.confine_zygote(plan, (control_fd, wake_read.fileno(), wake_write.fileno()))
    except BaseException as failure:  # noqa: BLE001 (whatever it is, the supervisor must hear of it)
        _refuse(control, failure)
    gc.collect()
    gc.disable()
    gc.freeze()
    control.send(b"R" + json.dumps(plan.report()).encode())

    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == control_fd:
                _fork_some(control, plan, child)
            else:
                with contextlib.suppress(BlockingIOError):
                    wake_read.recv(4096)
                _report_exits(control)


def _refuse(control: socket.socket, failure: BaseException) -> NoReturn:
    step = getattr(failure, "step", type(failure).__name__)
    why = getattr(failure, "why", str(failure))
    with contextlib.suppress(OSError):
        control.send(b"E" + json.dumps({"step": str(step), "why": str(why)}).encode())
    os._exit(1)


def _watch_children() -> tuple[socket.socket, socket.socket]:
    read, write = socket.socketpair()
    read.setblocking(False)
    write.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C in a terminal is the supervisor's to judge
    signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
    return read, write


def _fork_some(control: socket.socket, plan: jail.Plan, child: ChildHalf) -> None:
    asked = control.recv(1)
    if not asked:
        os._exit(0)
    for _ in range(asked[0]):
        _fork_one(control, plan, child)


def _fork_one(control: socket.socket, plan: jail.Plan, child: ChildHalf) -> None:
    ours, theirs = _when_possible(control, socket.socketpair)
    pid = _when_possible(control, os.fork)
    if pid == 0:
        _be_child(theirs, plan, child)
    theirs.close()
    pidfd = os.pidfd_open(pid)
    message, fds = [CHILD_MESSAGE.pack(b"C", pid)], [ours.fileno(), pidfd]
    try:
        _when_possible(control, lambda: socket.send_fds(control, message, fds))
    except OSError:
        os._exit(0)
    finally:
        ours.close()
        os.close(pidfd)


def _when_possible(control: socket.socket, act: Callable[[], T]) -> T:
    """
    Do something for which the host may have no room at the moment.

    Descriptors under way in messages are counted for all processes of a user, so a supervisor that
    is busy elsewhere can be in the way too. Dying of it would end every run in hand.
    """
    while True:
        try:
            return act()
        except OSError as refused:
            if refused.errno not in _NO_ROOM:
                raise
        _report_exits(control)  # reaping makes room
        time.sleep(_PAUSE_S)


def _be_child(theirs: socket.socket, plan: jail.Plan, child: ChildHalf) -> NoReturn:
    try:
        # The handler of SIGCHLD and its wake-up descriptor stay: a process without children gets
        # no such signal, and taking them back would cost more than the script.
        fd = theirs.detach()
        jail.confine_child(plan, fd)
        child.serve(fd)
    finally:
        os._exit(70)


def _report_exits(control: socket.socket) -> None:
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        cpu_us = int((usage.ru_utime + usage.ru_stime) * 1_000_000)
        try:
            control.send(EXIT_MESSAGE.pack(b"X", pid, status, cpu_us))
        except OSError:
            os._exit(0)
