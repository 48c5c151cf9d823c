"""
The supervisor's end of the zygote: warm children in, exit reports out.

Runs in: supervisor (worker, CLI). Trusts: the zygote process, which runs only our code.
Refuses: to go on without a zygote whose jail stands. May import: stdlib.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.zygote_messages import CHILD_MESSAGE, EXIT_MESSAGE

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]);"
    "import importlib; importlib.import_module(sys.argv[3]).main(int(sys.argv[1]))"
)
_START_S = 20.0
#: Somebody who crashes child after child cannot have a zygote started more often than this.
_YOUNG_S = 1.0
_LEASE_S = 10.0
_ORDINARY = {signal.SIGKILL, signal.SIGPROF, signal.SIGXCPU}


class SandboxUnavailable(Exception):
    """No jail can be had on this host now; nothing was run. The text names the step."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended, from its parent's wait4. `status` is None when the zygote died first."""

    status: int | None
    cpu_us: int = 0

    @property
    def crashed(self) -> bool:
        """Tell whether a signal ended it that neither we nor its limits send."""
        return (
            self.status is not None
            and os.WIFSIGNALED(self.status)
            and os.WTERMSIG(self.status) not in _ORDINARY
        )


@dataclass(slots=True, eq=False)
class Child:
    """One forked, jailed child: its socket (ours to close), and its end when it comes."""

    pid: int
    socket: socket.socket
    pidfd: int
    exited: asyncio.Future[Exit]
    leased: bool = field(default=False)

    def cpu_ms(self) -> float | None:
        """
        Give the processor time used so far, as the kernel counts it; None once it was reaped.

        Source: clock_getcpuclockid(3): the clock id of a process is made of its pid.
        """
        try:
            return time.clock_gettime((~self.pid << 3) | 2) * 1000
        except OSError:
            return None

    def is_blocked(self) -> bool:
        """
        Tell whether it waits in the kernel, as for a reply, and neither runs nor could run.

        Source: proc_pid_stat(5), field 3. True where the kernel does not tell.
        """
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_bytes()
        except OSError:
            return True
        return stat.rpartition(b") ")[2][:1] != b"R"

    def has_ended(self) -> bool:
        """Tell whether it is dead, by the kernel's word: the zygote's may still be on its way."""
        ended = select.poll()
        ended.register(self.pidfd, select.POLLIN)
        return bool(ended.poll(0))

    def kill(self) -> None:
        """Kill it; correct also when it is gone already."""
        with contextlib.suppress(ProcessLookupError, OSError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def end(self, how: Exit) -> None:
        """Note how it ended. A run that was cancelled while it waited for that takes no answer."""
        if not self.exited.done():
            self.exited.set_result(how)

    def close(self) -> None:
        """Give its descriptors back."""
        self.socket.close()
        os.close(self.pidfd)


class Zygote:
    """
    One zygote process and the children that it forked and that still live.

    Owned by one event loop; not to be used from another thread. `module` has the `main` that the
    process runs; tests name another to fork hostile children.
    """

    def __init__(self, spares: int, module: str = "sandbox.zygote_main") -> None:
        self._wanted = spares
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready: asyncio.Future[dict[str, Any]] | None = None
        self._spares: deque[Child] = deque()
        self._waiters: deque[asyncio.Future[Child]] = deque()
        self._alive: dict[int, Child] = {}
        self._unasked = 0
        self._owed = 0
        self._began = 0.0
        self._retired = False
        #: A child died of a signal that an exploit leaves behind. Its siblings share its addresses.
        self.suspect = False
        self.report: dict[str, Any] = {}

    @property
    def running(self) -> bool:
        """Tell whether there is a zygote to fork from."""
        return self._control is not None

    @property
    def pid(self) -> int:
        """Give the process id, 0 when it is not running."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """
        Start the process and wait until its jail stands.

        Raises:
            SandboxUnavailable: a required step failed; the text names it.
        """
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._process = _spawn(theirs, self._module)
        theirs.close()
        self._control, self._ready = ours, loop.create_future()
        loop.add_reader(ours.fileno(), self._readable)
        try:
            self.report = await asyncio.wait_for(self._ready, _START_S)
        except TimeoutError:
            await self.close()
            raise SandboxUnavailable(f"the zygote did not start within {_START_S:.0f} s") from None
        except BaseException:
            await self.close()
            raise
        self._ask(self._wanted)

    async def lease(self) -> Child:
        """
        Take a warm child; one more is forked in its place, now or when a run has ended.

        Raises:
            SandboxUnavailable: none came in time.
        """
        if self._control is None:
            raise SandboxUnavailable("the zygote is not running")
        self._owed += 1
        if len(self._spares) <= (self._wanted + 1) // 2:
            # Else a fork would only take a processor from the run that begins.
            self._ask_owed()
        if self._spares:
            child = self._spares.popleft()
        else:
            waiter: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                child = await asyncio.wait_for(waiter, _LEASE_S)
            except TimeoutError:
                raise SandboxUnavailable(f"no child came within {_LEASE_S:.0f} s") from None
        child.leased = True
        return child

    def retire(self) -> None:
        """Lease no more; end by itself when the last run in hand has ended. `close` it later."""
        self._retired = True
        self._end_when_idle()

    @property
    def over(self) -> bool:
        """Tell whether it was retired and has ended."""
        return self._retired and self._control is None

    async def close(self) -> None:
        """Kill the zygote and every child, and wait until they are gone."""
        process = self._process
        self._lose()
        if process is not None:
            process.kill()
            await asyncio.get_running_loop().run_in_executor(None, process.wait)
            self._process = None

    def _ask(self, count: int) -> None:
        self._unasked += count
        self._send_asked()

    def _ask_owed(self) -> None:
        owed, self._owed = self._owed, 0
        self._ask(owed)

    def _send_asked(self) -> None:
        # A zygote that is busy forking lets the socket fill up. What does not fit is asked for when
        # it has read on: each message of it is an occasion.
        while self._control is not None and self._unasked:
            count = min(self._unasked, 255)
            try:
                self._control.send(bytes([count]))
            except OSError:  # full; a dead zygote is noticed by its closed socket
                return
            self._unasked -= count

    def _readable(self) -> None:
        while self._control is not None:
            try:
                message, fds, _, _ = socket.recv_fds(self._control, 65536, 2)
            except BlockingIOError:
                return
            except OSError:
                message, fds = b"", []
            if not message:
                self._lose()
                return
            self._take(message, fds)
            self._send_asked()

    def _take(self, message: bytes, fds: list[int]) -> None:
        kind = message[:1]
        if kind == b"C":
            self._take_child(CHILD_MESSAGE.unpack(message)[1], fds)
        elif kind == b"X":
            _, pid, status, cpu_us = EXIT_MESSAGE.unpack(message)
            self._take_exit(pid, Exit(status, cpu_us))
        elif kind == b"R" and self._ready is not None and not self._ready.done():
            self._ready.set_result(json.loads(message[1:]))
        elif kind == b"E" and self._ready is not None and not self._ready.done():
            told = json.loads(message[1:])
            self._ready.set_exception(SandboxUnavailable(f"{told['step']}: {told['why']}"))

    def _take_child(self, pid: int, fds: list[int]) -> None:
        if len(fds) != 2:
            # This process may open no more descriptors. The child's socket has no other end now:
            # it reads that nobody is there, and leaves.
            for fd in fds:
                os.close(fd)
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_exception(SandboxUnavailable("too many open descriptors"))
            self._waiters.clear()
            return
        end = socket.socket(fileno=fds[0])
        end.setblocking(False)
        child = Child(pid, end, fds[1], asyncio.get_running_loop().create_future())
        self._alive[pid] = child
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(child)
                return
        if len(self._spares) < self._wanted:
            self._spares.append(child)
            return
        # It was asked for by a run that no longer waits.
        child.kill()
        child.close()

    def _take_exit(self, pid: int, how: Exit) -> None:
        child = self._alive.pop(pid, None)
        if child is None:
            return
        child.end(how)
        if how.crashed and asyncio.get_running_loop().time() - self._began > _YOUNG_S:
            self.suspect = True
        if self._retired:
            self._end_when_idle()
            return
        if not child.leased and child in self._spares:
            self._spares.remove(child)
            child.close()
            self._owed += 1
        if self._owed:
            self._ask_owed()

    def _end_when_idle(self) -> None:
        if not any(child.leased for child in self._alive.values()):
            self._lose()
            if self._process is not None:
                self._process.kill()

    def _lose(self) -> None:
        control, self._control = self._control, None
        if control is None:
            return
        self._unasked = 0
        asyncio.get_running_loop().remove_reader(control.fileno())
        control.close()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(SandboxUnavailable("the zygote died while it started"))
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(SandboxUnavailable("the zygote died"))
        self._waiters.clear()
        for child in list(self._alive.values()):
            child.kill()
            child.end(Exit(None))
        self._alive.clear()
        while self._spares:
            self._spares.popleft().close()


def _spawn(control: socket.socket, module: str) -> subprocess.Popen[bytes]:
    """Start the zygote thin: no site, no environment, our own module path given by hand."""
    paths = json.dumps([str(Path(entry).resolve()) for entry in sys.path])
    return subprocess.Popen(  # noqa: S603 (our own interpreter, our own text)
        [sys.executable, "-I", "-S", "-c", _BOOT, str(control.fileno()), paths, module],
        pass_fds=[control.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"LD_BIND_NOW": "1"},
    )
