"""
What people see of a run while it runs: printed text in pieces, calls as they end.

Runs in: worker. Trusts: the supervisor, which has made the text clean. Refuses: nothing.
May import: core, runs.

Lines are gathered, since one entry for 64 lines costs a fortieth of 64 entries.

A run that goes on after its worker was lost prints everything again, the same text in the same
order. Each piece of text says `at` which character of the whole it begins, so that a later attempt
leaves out what was shown, and a watcher can tell what comes twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from core import keys

if TYPE_CHECKING:
    from redis.asyncio import Redis

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


@dataclass(frozen=True, slots=True)
class Shown:
    """What watchers have seen of earlier attempts: so many characters, and these calls."""

    chars: int = 0
    calls: frozenset[int] = frozenset()

    @classmethod
    async def read(cls, redis: Redis, run_id: str) -> Shown:
        """
        Read it from a run's events.

        Raises:
            RedisError: Redis does not answer.
        """
        chars, calls = 0, set()
        rows: Any = await redis.xrange(keys.events(run_id))
        for _, fields in rows:
            if fields[b"type"] == b"log":
                data = orjson.loads(fields[b"data"])
                chars = max(chars, data.get("at", 0) + len(data["text"]))
            elif fields[b"type"] == b"call":
                calls.add(orjson.loads(fields[b"data"])["seq"])
        return cls(chars, frozenset(calls))


_NOTHING = Shown()


class EventWriter:
    """
    The events of one run on their way to Redis. Belongs to the event loop that executes the run.

    `send` takes entries and must keep their order. What was `shown` is not sent again.
    """

    def __init__(
        self,
        run_id: str,
        call_later: CallLater,
        send: Callable[[list[EventEntry]], None],
        shown: Shown = _NOTHING,
    ) -> None:
        self._key = keys.events(run_id)
        self._call_later = call_later
        self._send = send
        self._text: list[str] = []
        self._lines = 0
        self._chars = 0
        self._timer: Timer | None = None
        self._shown = shown
        self._printed = 0  # characters of the run, shown before or not
        self._at = 0  # where the gathered text begins

    def output(self, text: str) -> None:
        """Take printed text; it is sent within `FLUSH_S`, or at once when there is much of it."""
        seen = max(0, min(len(text), self._shown.chars - self._printed))
        self._printed += len(text)
        if seen:
            text = text[seen:]
            if not text:
                return
        if not self._text:
            self._at = self._printed - len(text)
        self._text.append(text)
        self._lines += text.count("\n")
        self._chars += len(text)
        if self._lines >= MAX_LINES or self._chars >= MAX_CHARS:
            self._send(self.take())
        elif self._timer is None:
            self._timer = self._call_later(FLUSH_S, self._flush)

    def call(self, record: CallRecord) -> None:
        """Take a finished call; what was printed before it comes before it."""
        if record.seq not in self._shown.calls:
            self._send([*self.take(), self._entry("call", record.to_json())])

    def take(self) -> list[EventEntry]:
        """Give what has not been sent; the caller sends it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._text:
            return []
        entry = self._entry("log", {"text": "".join(self._text), "at": self._at})
        self._text.clear()
        self._lines = self._chars = 0
        return [entry]

    def _flush(self) -> None:
        self._timer = None
        self._send(self.take())

    def _entry(self, kind: str, data: dict[str, Any]) -> EventEntry:
        return self._key, kind, orjson.dumps(data)
