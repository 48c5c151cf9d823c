"""
What a scheduler does again and again, and how: duties take their turns side by side.

Runs in: scheduler. Trusts: its duties. Refuses: nothing.
May import: stdlib, structlog, core.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0


class Duty(Protocol):
    """
    Something that is due from time to time.

    Several schedulers may be alive at once, and each may die at any moment: a duty takes work in
    one step of Redis that no other can take too, and can be killed between any two steps.
    """

    #: Names it in logs.
    name: str

    async def turn(self) -> float:
        """Do what is due, and give the seconds until it wants its next turn; it may also block."""
        ...


async def keep(duty: Duty) -> None:
    """Give a duty its turns for ever; one that fails is tried again, each time later."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            rest_s = await duty.turn()
            pause_s = _FIRST_PAUSE_S
        except Exception as error:  # noqa: BLE001 (one duty's fault must not end the others)
            structlog.get_logger(__name__).warning(
                "duty_failed", duty=duty.name, error=type(error).__name__, exc_info=error
            )
            rest_s, pause_s = pause_s, min(2 * pause_s, _LONGEST_PAUSE_S)
        await asyncio.sleep(rest_s)
