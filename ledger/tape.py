"""
The tape: the ordered record of every effect a run had, and the only thing it learns from.

Entries have explicit sequence numbers from 1. The first is `accepted`, the last `finished`.
A second writer's append is refused, so two workers can never both own a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Kind(StrEnum):
    """What an entry records. New kinds may be added; none is ever renamed."""

    ACCEPTED = "accepted"
    STARTED = "started"
    WAITING = "waiting"
    ANSWERED = "answered"
    INTENT = "intent"
    EFFECT = "effect"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its sequence number, kind, time (Unix ms) and JSON body."""

    seq: int
    kind: Kind
    at_ms: int
    body: Mapping[str, Any]


class TapeError(Exception):
    """The tape could not be written; whatever it was to record must not happen."""


class TapeFenced(TapeError):
    """Somebody else wrote this sequence number: this writer no longer owns the run."""


class TapeFull(TapeError):
    """The store takes no entry now: nothing was written, and nobody is to blame."""


class TapeLost(TapeError):
    """The store has lost entries that it had confirmed."""


class Tape(Protocol):
    """The tape of one run, held by its one writer."""

    async def append(self, kind: Kind, body: Mapping[str, Any]) -> Entry:
        """
        Write the next entry; it is durable (as far as the store is) on return.

        Raises:
            TapeFenced: another writer owns the run.
            TapeError: the store did not confirm; treat the entry as not written.
        """
        ...


class MemoryTape:
    """A tape in memory, for runs without Redis (`moonsand run`) and for tests."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.entries: list[Entry] = []

    async def append(self, kind: Kind, body: Mapping[str, Any]) -> Entry:
        """Write the next entry."""
        entry = Entry(len(self.entries) + 1, kind, self._clock(), body)
        self.entries.append(entry)
        return entry
