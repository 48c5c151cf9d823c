"""What happens in a run, for people who watch: a stream that can be resumed from any event."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson

from core import keys
from core.errors import Invalid
from runs.model import State

if TYPE_CHECKING:
    from redis.asyncio import Redis

EventType = Literal["state", "log", "call"]
_ID = re.compile(r"\d{1,20}-\d{1,20}")
_BLOCK_MS = 2_000
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Event:
    """
    One event. `id` orders the events of a run and is what a watcher resumes after.

    | type | data |
    |---|---|
    | `state` | `state`, `at_ms`, and `reason` when the run has ended |
    | `log` | `text`: a piece of the printed text, whole lines where possible |
    | `call` | a finished call, as in the result's `calls` |
    """

    id: str
    type: EventType
    data: dict[str, Any]

    @property
    def ends_the_run(self) -> bool:
        """Tell whether this event says that the run has ended."""
        return self.type == "state" and State(self.data["state"]).terminal


async def follow(redis: Redis, run_id: str, after: str) -> AsyncIterator[Event]:
    """
    Give the events after `after`, those to come included, to the end of the run.

    Raises:
        Invalid: `after` is no event id.
        RedisError: the connection failed.
    """
    if _ID.fullmatch(after) is None:
        raise Invalid("not an event id: expected two numbers joined by a hyphen")
    while True:
        # Asked before reading: whatever came before the end is then read with it. An operator may
        # have a failed job executed again, so the state counts and not the first end on the way.
        ended = await has_ended(redis, run_id)
        events = await read(redis, run_id, after, None if ended else _BLOCK_MS)
        for event in events:
            after = event.id
            yield event
        if ended and len(events) < _BATCH:
            return


async def has_ended(redis: Redis, run_id: str) -> bool:
    """Tell whether a run has ended, or is no longer known."""
    state = await cast("Awaitable[bytes | None]", redis.hget(keys.run(run_id), "state"))
    return state is None or State(state.decode()).terminal


async def read(redis: Redis, run_id: str, after: str, block_ms: int | None) -> list[Event]:
    """Read the next events; wait for one up to `block_ms` milliseconds if there is none."""
    reply = await cast(
        "Awaitable[Any]",
        redis.xread({keys.events(run_id): after}, count=_BATCH, block=block_ms),
    )
    return [event for _, entries in _streams(reply) for event in map(_to_event, entries)]


def _streams(reply: Any) -> list[tuple[bytes, list[Any]]]:
    # RESP3 gives a mapping of lists of entries, RESP2 a list of pairs.
    if isinstance(reply, dict):
        return [(name, [one for part in parts for one in part]) for name, parts in reply.items()]
    return [(name, entries) for name, entries in reply or ()]


def _to_event(entry: Any) -> Event:
    entry_id, fields = entry
    kind = cast("EventType", fields[b"type"].decode())
    data = orjson.loads(fields[b"data"])
    if kind == "state":
        # The id tells it already. Without it a run that waits has its events in one small node.
        data.setdefault("at_ms", int(entry_id.partition(b"-")[0]))
    return Event(entry_id.decode(), kind, data)
