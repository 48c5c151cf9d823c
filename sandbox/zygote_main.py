"""
The zygote process: confined once, then forks one jailed child for each run, off the hot path.

Runs in: zygote, a process of its own. Trusts: the supervisor that started it.
Refuses: to fork anything when a required step of the jail is missing.
May import: stdlib, sandbox.jail, sandbox.child (the only module that may).

Its one descriptor is a SOCK_SEQPACKET socket. From the supervisor: one byte, how many children to
fork. To the supervisor: the messages of `zygote_messages`.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import gc
import json
import os
import select
import signal
import struct
import time
from collections.abc import Callable
from typing import NoReturn, Protocol, TypeVar

from sandbox import jail
from sandbox.child import main as lua_child
from sandbox.kernel import heap, prepared, reaper
from sandbox.zygote_messages import CHILD_MESSAGE, EXIT_MESSAGE

T = TypeVar("T")
Life = Callable[[int], NoReturn]

_NO_ROOM = {
    errno.EAGAIN,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.ETOOMANYREFS,
}
_PAUSE_S = 0.002
_NICE = 5
_FORKS_AT_ONCE = 16
_DESCRIPTORS = struct.Struct("@2i")
_RIGHTS_LEVEL, _RIGHTS = int(_socket.SOL_SOCKET), int(_socket.SCM_RIGHTS)


class ChildHalf(Protocol):
    """What a forked child runs; tests give hostile ones."""

    def preload(self) -> None:
        """Prepare, once, before the zygote is confined."""

    def serve(self, fd: int) -> NoReturn:
        """Run one script for the supervisor at the other end of `fd`."""


def main(control_fd: int, child: ChildHalf = lua_child) -> NoReturn:
    """Confine this process, say so, and fork on demand until the supervisor is gone."""
    control = _socket.socket(fileno=control_fd)
    try:
        # Ctrl-C in a terminal is the supervisor's to judge.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        exits = reaper.watch()
        plan = jail.prepare()
        # Who leases, times and answers scripts goes before them, however many compute.
        os.nice(_NICE)
        child.preload()
        jail.confine_zygote(plan, (control_fd, exits))
    except BaseException as failure:  # noqa: BLE001 (whatever it is, the supervisor must hear of it)
        _refuse(control, failure)
    gc.collect()
    gc.disable()
    heap.fill_holes()
    gc.freeze()
    control.send(b"R" + json.dumps(plan.report()).encode())

    live = _life(plan, child)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(exits, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == control_fd:
                _fork_some(control, live)
            else:
                os.read(exits, reaper.NOTE_BYTES)
                _report_exits(control)


def _refuse(control: _socket.socket, failure: BaseException) -> NoReturn:
    step = getattr(failure, "step", type(failure).__name__)
    why = getattr(failure, "why", str(failure))
    with contextlib.suppress(OSError):
        control.send(b"E" + json.dumps({"step": str(step), "why": str(why)}).encode())
    os._exit(1)


def _fork_some(control: _socket.socket, live: Life) -> None:
    asked = control.recv(1)
    if not asked:
        os._exit(0)
    for number in range(1, asked[0] + 1):
        _fork_one(control, live)
        if number % _FORKS_AT_ONCE == 0:
            _report_exits(control)  # a run waits for the word of its child's end


def _fork_one(control: _socket.socket, live: Life) -> None:
    # Whatever is written to between two forks is a page to copy here too: plain descriptors and
    # one system call each, no objects of the socket module.
    one, other = _when_possible(control, _socket.socketpair)
    ours, theirs = one.detach(), other.detach()
    pid = _when_possible(control, prepared.fork)
    if pid == 0:
        live(theirs)
    os.close(theirs)
    pidfd = os.pidfd_open(pid)
    rights = [(_RIGHTS_LEVEL, _RIGHTS, _DESCRIPTORS.pack(ours, pidfd))]
    try:
        _when_possible(control, control.sendmsg, [CHILD_MESSAGE.pack(b"C", pid)], rights)
    except OSError:
        os._exit(0)
    os.close(ours)
    os.close(pidfd)


def _when_possible(control: _socket.socket, act: Callable[..., T], *arguments: object) -> T:
    """
    Do something for which the host may have no room at the moment.

    Descriptors under way in messages are counted for all processes of a user, so a supervisor that
    is busy elsewhere can be in the way too. Dying of it would end every run in hand.
    """
    while True:
        try:
            return act(*arguments)
        except OSError as refused:
            if refused.errno not in _NO_ROOM:
                raise
        _report_exits(control)  # reaping makes room
        time.sleep(_PAUSE_S)


def _life(plan: jail.Plan, child: ChildHalf) -> Life:
    """Give what a fork does with its socket until it ends."""
    # Names are resolved here: no fork of this process could remember where it found them.
    confine, serve, leave = jail.confine_child, child.serve, os._exit

    def live(fd: int) -> NoReturn:
        try:
            # SIGCHLD stays blocked: a process without children gets no such signal.
            confine(plan, fd)
            serve(fd)
        finally:
            leave(70)

    return live


def _report_exits(control: _socket.socket) -> None:
    while True:
        pid, status, cpu_us = reaper.next_exit()
        if pid <= 0:
            return
        try:
            control.send(EXIT_MESSAGE.pack(b"X", pid, status, cpu_us))
        except OSError:
            os._exit(0)
