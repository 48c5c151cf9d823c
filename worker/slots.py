"""The runs in hand: how many more fit, and why one of them is to be ended early."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from enum import StrEnum

from runs.suspension import Suspension
from worker.claim import Claim


class Stop(StrEnum):
    """Why a run is ended before it ends by itself."""

    REQUESTED = "requested"  # somebody cancelled it
    LEASE_LOST = "lease_lost"  # somebody else has ended it; nothing of ours counts
    SHUTDOWN = "shutdown"  # this worker has to go and the run took too long


@dataclass(slots=True)
class Slot:
    """One claim in hand. Owned by the event loop."""

    claim: Claim
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    stop: Stop | None = None
    suspension: Suspension | None = None

    def end(self, why: Stop) -> None:
        """End its run early; the first reason stays, a lost lease beats all."""
        if self.stop is None or why is Stop.LEASE_LOST:
            self.stop = why
        self.cancel.set()


class Room:
    """
    How many runs fit. Shared by the thread that claims and the one that executes.

    A place is taken before a claim and given back when Redis has been told of the run's end.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._free = slots
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """Give how many more runs fit now."""
        return self._free

    def take(self, count: int) -> None:
        """Take places that are known to be free: only one thread takes."""
        with self._changed:
            self._free -= count

    def give_back(self) -> None:
        """Give one place back."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def wait_for_free(self, timeout_s: float) -> int:
        """Wait until a place is free; give how many are, 0 when none became free in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0, timeout_s)
            return self._free

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until no run is in hand; tell whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._free == self._slots, timeout_s)
