"""
Calls that may wait without a child: who answers a run's calls parks those whose reply is far away.

Runs in: supervisor, worker (vocabulary). Trusts: whoever answers calls. Refuses: nothing.
May import: stdlib.
"""

from __future__ import annotations

from collections.abc import Callable, Collection


class Parking:
    """
    The parked calls of one run, by their numbers. Belongs to one event loop.

    When a child waits for nothing but parked calls it is let go, and the run is executed again
    later. `on_change` is told of every call that is parked or taken back.
    """

    def __init__(self) -> None:
        self._parked: set[int] = set()
        self.on_change: Callable[[], None] | None = None

    def park(self, seq: int) -> None:
        """Say that a call's reply is far away."""
        self._parked.add(seq)
        self._changed()

    def take_back(self, seq: int) -> None:
        """Say that a call is about to be answered after all."""
        self._parked.discard(seq)
        self._changed()

    def covers(self, awaited: Collection[int]) -> bool:
        """Tell whether some replies are awaited, and all of them are far away."""
        return bool(awaited) and self._parked.issuperset(awaited)

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
