"""
What people see of a run while it runs: printed text in pieces, calls as they end.

Runs in: worker. Trusts: the supervisor, which has made the text clean. Refuses: nothing.
May import: core, runs.

Lines are gathered, since one entry for 64 lines costs a fortieth of 64 entries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from core import keys

if TYPE_CHECKING:
    from core.calls import CallRecord

FLUSH_S = 0.05
MAX_LINES = 64
MAX_CHARS = 16 * 1024
#: About how many events of one run are kept; the whole output is in the run's record.
MAX_EVENTS = 1_000

#: One XADD: key of the stream, type of the event, its data as JSON text.
EventEntry = tuple[str, str, bytes]


class Timer(Protocol):
    """A call that is to come, such as an event loop's `TimerHandle`."""

    def cancel(self) -> None:
        """Call it off."""
        ...


#: Calls something after so many seconds, as an event loop's `call_later` does.
CallLater = Callable[[float, Callable[[], None]], Timer]


class EventWriter:
    """
    The events of one run on their way to Redis. Belongs to the event loop that executes the run.

    `send` takes entries and must keep their order.
    """

    def __init__(
        self, run_id: str, call_later: CallLater, send: Callable[[list[EventEntry]], None]
    ) -> None:
        self._key = keys.events(run_id)
        self._call_later = call_later
        self._send = send
        self._text: list[str] = []
        self._lines = 0
        self._chars = 0
        self._timer: Timer | None = None

    def output(self, text: str) -> None:
        """Take printed text; it is sent within `FLUSH_S`, or at once when there is much of it."""
        self._text.append(text)
        self._lines += text.count("\n")
        self._chars += len(text)
        if self._lines >= MAX_LINES or self._chars >= MAX_CHARS:
            self._send(self.take())
        elif self._timer is None:
            self._timer = self._call_later(FLUSH_S, self._flush)

    def call(self, record: CallRecord) -> None:
        """Take a finished call; what was printed before it comes before it."""
        self._send([*self.take(), self._entry("call", record.to_json())])

    def take(self) -> list[EventEntry]:
        """Give what has not been sent; the caller sends it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._text:
            return []
        entry = self._entry("log", {"text": "".join(self._text)})
        self._text.clear()
        self._lines = self._chars = 0
        return [entry]

    def _flush(self) -> None:
        self._timer = None
        self._send(self.take())

    def _entry(self, kind: str, data: dict[str, Any]) -> EventEntry:
        return self._key, kind, orjson.dumps(data)
