"""
Child processes that belong together: started, watched, restarted when they die, ended together.

Every child ends when this process ends, however it ends. Children are not in our process group,
so that Ctrl-C at a terminal reaches us alone and we end them in order.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import core.parent_death

_LAUNCHER = Path(core.parent_death.__file__)
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_HEALTHY_S = 30.0


@dataclass(frozen=True, slots=True)
class Role:
    """One process of the fleet: a `moonsand` command and what it inherits."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    inherited_fds: Sequence[int] = ()


Notice = Callable[[str], None]


class Fleet:
    """
    Runs roles until told to stop.

    `notice` is called with one line for whatever a person should know. `grace_s` is how long
    processes get to end before they are killed.
    """

    def __init__(self, notice: Notice, *, grace_s: float, log: Path | None = None) -> None:
        self._notice = notice
        self._grace_s = grace_s
        self._log = log
        self._watchers: list[asyncio.Task[None]] = []
        self._running: dict[str, asyncio.subprocess.Process] = {}
        #: What became of the process that died last, if one did.
        self.last_death: str | None = None

    async def start(self, role: Role) -> None:
        """Start one process; it is restarted whenever it dies, until `stop`."""
        await self._launch(role)
        self._watchers.append(asyncio.create_task(self._watch(role)))

    async def stop(self) -> None:
        """End all processes, those started last first in line to be told; kill the slow ones."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await asyncio.gather(*(self._end(one) for one in reversed(self._running.values())))
        self._running.clear()

    @property
    def pids(self) -> dict[str, int]:
        """Give the process ids by role."""
        return {name: process.pid for name, process in self._running.items()}

    async def _launch(self, role: Role) -> asyncio.subprocess.Process:
        command = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
        command += [sys.executable, "-m", "moonsand", *role.arguments]
        log = self._log.open("ab") if self._log else None
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **role.environment},
                pass_fds=role.inherited_fds,
                start_new_session=True,
            )
        finally:
            if log is not None:
                log.close()
        self._running[role.name] = process
        return process

    async def _watch(self, role: Role) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            process, started = self._running[role.name], time.monotonic()
            code = await process.wait()
            if time.monotonic() - started > _HEALTHY_S:
                pause_s = _FIRST_PAUSE_S
            self.last_death = f"{role.name} ended ({_how(code)})"
            self._notice(f"{self.last_death}; starting it again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            await self._launch(role)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._grace_s)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
