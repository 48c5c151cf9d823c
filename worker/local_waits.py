"""
Waiting in a run on this machine, without Redis: the process stays, the child does not.

Runs in: CLI. Trusts: its caller, and whoever answers at its terminal. Refuses: nothing.
May import: integrations, ledger, runs, sandbox (never sandbox.child).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from integrations.waits import Answer, Wait, WaitTerms

if TYPE_CHECKING:
    from core.calls import CallRecord
    from core.clock import Clock
    from runs.endings import Ending
    from runs.suspension import Suspension
    from worker.execute import Watcher

#: Asks a person; cancelled when it is too late.
Ask = Callable[[Wait], Awaitable[Answer]]
#: Milliseconds that a run on this machine may wait.
LONGEST_MS = 30 * 86_400_000


class LocalWaits:
    """The waits of one local run, over all its attempts."""

    def __init__(self, began_ms: int, clock: Clock, ask: Ask | None) -> None:
        self._until_ms = began_ms + LONGEST_MS
        self._clock = clock
        self._ask = ask
        self._answers: dict[int, Answer] = {}

    def terms(self) -> WaitTerms:
        """Give the terms of an attempt that begins now."""
        return WaitTerms(
            until_ms=self._until_ms,
            now_ms=self._clock(),
            answers=dict(self._answers),
            can_ask=self._ask is not None,
        )

    async def over(self, suspension: Suspension, cancel: asyncio.Event | None) -> Ending | None:
        """Wait until the run can go on: None; or was cancelled: its end."""
        waiting = [asyncio.create_task(self._one(one)) for one in _in_turn(suspension)]
        if cancel is not None:
            waiting.append(asyncio.create_task(_set(cancel)))
        if not suspension.waits:
            waiting.append(asyncio.create_task(asyncio.sleep(0)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return suspension.cancelled() if cancel is not None and cancel.is_set() else None

    async def _one(self, wait: Wait) -> None:
        left_s = max(0.0, (wait.until_ms - self._clock()) / 1000)
        if wait.question is None or self._ask is None:
            await asyncio.sleep(left_s)
            return
        try:
            async with asyncio.timeout(left_s):
                self._answers[wait.seq] = await self._ask(wait)
        except TimeoutError:
            return


def _in_turn(suspension: Suspension) -> list[Wait]:
    """Give all sleeps and one question: a terminal can ask one at a time."""
    questions = [one for one in suspension.waits if one.question is not None]
    return [one for one in suspension.waits if one.question is None] + questions[:1]


async def _set(event: asyncio.Event) -> None:
    await event.wait()


class Once:
    """Shows each line and each call of a run once, however often it is executed again."""

    def __init__(self, watch: Watcher) -> None:
        self._watch = watch
        self._shown = 0
        self._printed = 0
        self._calls: set[int] = set()

    def begin(self) -> None:
        """Say that an attempt begins: all that was shown comes again."""
        self._printed = 0

    def output(self, text: str) -> None:
        """Take a piece of the printed text."""
        new = text[max(0, self._shown - self._printed) :]
        self._printed += len(text)
        if new:
            self._shown = self._printed
            self._watch.output(new)

    def call(self, record: CallRecord) -> None:
        """Take a finished call."""
        if record.seq not in self._calls:
            self._calls.add(record.seq)
            self._watch.call(record)
