"""
The trusted half of a run: lease a child, speak with it, time it, kill it, judge how it ended.

Runs in: supervisor (worker, CLI). Trusts: the zygote, and the kernel's word on time and exits.
Refuses: a child that breaks the protocol, passes a limit, or lives on after its result.
May import: stdlib.

The flag that says why a child is killed is set before the kill, so that whoever sees it die can
always classify the death.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from sandbox.calls import Call, OnCall, OnOutput, StartRequest
from sandbox.conduct import Conduct
from sandbox.outcome import Outcome
from sandbox.parking import Parking
from sandbox.zygote import Child, SandboxUnavailable, Zygote

__all__ = ["Call", "Outcome", "Sandbox", "SandboxUnavailable", "StartRequest"]


class Sandbox:
    """
    Runs scripts, each in a fresh jailed child.

    Owned by one event loop; any number of runs may be in flight in it. `spares` children are kept
    warm. A zygote that died is replaced at the next run; so is one of whose children one has died
    of a signal such as SIGSEGV, because the next would have the same addresses.
    """

    def __init__(self, spares: int = 2, *, zygote_module: str = "sandbox.zygote_main") -> None:
        if not 1 <= spares <= 255:
            raise ValueError(f"spares must be 1 to 255, not {spares}")
        self._spares = spares
        self._module = zygote_module
        self._zygote: Zygote | None = None
        self._retired: list[Zygote] = []
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    @property
    def jail(self) -> dict[str, object]:
        """Give what the jail consists of on this host: step to what was done."""
        return dict(self._zygote.report) if self._zygote else {}

    @property
    def zygote_pid(self) -> int:
        """Give the zygote's process id, 0 while there is none."""
        return self._zygote.pid if self._zygote else 0

    async def start(self) -> None:
        """
        Start the zygote; later calls do nothing while it lives.

        Raises:
            SandboxUnavailable: a required step of the jail is missing; nothing can run.
        """
        if self._fit:
            return
        async with self._starting:
            if self._fit:
                return
            zygote = Zygote(self._spares, self._module)
            await zygote.start()
            before, self._zygote = self._zygote, zygote
            if before is not None:
                before.retire()
                self._retired.append(before)
            for over in [one for one in self._retired if one.over]:
                self._retired.remove(over)
                await over.close()

    async def run(
        self,
        request: StartRequest,
        on_call: OnCall,
        on_output: OnOutput | None = None,
        cancel: asyncio.Event | None = None,
        parking: Parking | None = None,
    ) -> Outcome:
        """
        Run one script to its end and judge it.

        Whatever the script did is in the outcome. `on_call` answers its calls, each in a task of
        its own, up to `MAX_OUTSTANDING` at once; the script gets the replies by their `order`. What
        it raises ends the child and is raised here. Cancelling the task kills the child. When the
        script waits for nothing but calls in `parking`, its child is let go: `suspended`.

        Raises:
            SandboxUnavailable: no child can be had; nothing was run.
        """
        child = await self._lease()
        conduct = Conduct(child, request, on_call, on_output, parking)
        watch = asyncio.create_task(_watch(cancel, conduct)) if cancel is not None else None
        try:
            return await conduct.to_the_end()
        finally:
            if watch is not None:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch

    async def close(self) -> None:
        """Kill the zygote and every child."""
        async with self._starting:
            for zygote in (*self._retired, *filter(None, [self._zygote])):
                await zygote.close()
            self._retired, self._zygote = [], None

    async def _lease(self) -> Child:
        for again in (True, False):
            await self.start()
            zygote = self._zygote
            assert zygote is not None  # noqa: S101 (start() set it or raised)
            try:
                return await zygote.lease()
            except SandboxUnavailable:
                # Nothing ran: a zygote that died meanwhile is no reason to fail a run.
                if not again or zygote.running:
                    raise
        raise SandboxUnavailable("no zygote lives long enough to fork")

    @property
    def _fit(self) -> bool:
        return self._zygote is not None and self._zygote.running and not self._zygote.suspect


async def _watch(cancel: asyncio.Event, conduct: Conduct) -> None:
    await cancel.wait()
    conduct.cancel()
