"""
When a schedule fires: by cron, every so often, or once; and which of its fires were missed.

Runs in: api, scheduler, CLI. Trusts: its caller's clock. Refuses: what never fires, what fires more
than once a second. May import: stdlib, core, triggers.

Moments are Unix milliseconds. Each follows from the definition alone, never from when the one
before it was noticed: fires do not drift.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from core.errors import Invalid
from triggers.cron import Cron, check_zone

Missed = Literal["skip", "once", "all"]
#: A fire that is at most so late counts as on time: a scheduler that was started anew is no outage.
ON_TIME_MS = 10_000
MAX_MISSED = 1_000
#: Fires that are counted one by one; of more, only that there were more.
_COUNTED = 2_000
_MINUTE_MS = 60_000
MAX_EVERY_S = 366 * 86_400


class Timing(Protocol):
    """A definition of moments."""

    def next_after(self, at_ms: int) -> int | None:
        """Give the first moment after `at_ms`; None: there is none."""
        ...

    def some_before(self, at_ms: int, count: int) -> int:
        """Give a moment since which there were at least `count`, or a very early one."""
        ...

    def count(self, from_ms: int, until_ms: int) -> int | None:
        """Count from one of them to before another; None: they would have to be gone through."""
        ...


@dataclass(frozen=True)
class ByCron:
    """Moments of a cron expression."""

    cron: Cron

    def next_after(self, at_ms: int) -> int | None:
        """Give the first moment after `at_ms`."""
        found = self.cron.next_after(_moment(at_ms))
        return None if found is None else round(found.timestamp() * 1000)

    def some_before(self, at_ms: int, count: int) -> int:
        """Give a moment since which there were at least `count`, or a very early one."""
        return round(self.cron.some_before(_moment(at_ms), count).timestamp() * 1000)

    def count(self, _from_ms: int, _until_ms: int) -> None:
        """Do not count."""


@dataclass(frozen=True)
class Every:
    """`anchor_ms`, and each `every_ms` after it."""

    every_ms: int
    anchor_ms: int

    def next_after(self, at_ms: int) -> int:
        """Give the first moment after `at_ms`."""
        if at_ms < self.anchor_ms:
            return self.anchor_ms
        return at_ms + self.every_ms - (at_ms - self.anchor_ms) % self.every_ms

    def some_before(self, at_ms: int, count: int) -> int:
        """Give a moment since which there were at least `count`."""
        return at_ms - (count + 1) * self.every_ms

    def count(self, from_ms: int, until_ms: int) -> int:
        """Count from one moment to before another."""
        return (until_ms - from_ms) // self.every_ms


@dataclass(frozen=True)
class Once:
    """One moment."""

    at_ms: int

    def next_after(self, at_ms: int) -> int | None:
        """Give it, while it is still to come."""
        return self.at_ms if at_ms < self.at_ms else None

    def some_before(self, _at_ms: int, _count: int) -> int:
        """Give the beginning of time."""
        return 0

    def count(self, from_ms: int, until_ms: int) -> int:
        """Count it, if it is there."""
        return int(from_ms <= self.at_ms < until_ms)


@dataclass(frozen=True, slots=True)
class Due:
    """
    What is to be done about the moments of a schedule up to now.

    `fires` are to be made, oldest first. `missed` counts those that are not, -1: too many to count;
    they are from `missed_from_ms` to `missed_until_ms`. `next_ms` is the next moment of all.
    """

    fires: list[int] = field(default_factory=list)
    missed: int = 0
    missed_from_ms: int = 0
    missed_until_ms: int = 0
    next_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Jitter:
    """Fires come up to `most_ms` late, each by an amount of its own that is always the same."""

    schedule: str
    most_ms: int

    def due_ms(self, fire_ms: int) -> int:
        """Tell when the fire of a moment is due."""
        if not self.most_ms:
            return fire_ms
        digest = hashlib.sha256(f"{self.schedule}|{fire_ms}".encode()).digest()
        return fire_ms + int.from_bytes(digest[:8]) % (self.most_ms + 1)


def due_now(
    timing: Timing, jitter: Jitter, first_ms: int, now_ms: int, policy: tuple[Missed, int]
) -> Due:
    """
    Tell what is due of the moments from `first_ms`, the next that was not yet made, to `now_ms`.

    `policy` says what becomes of those that come too late: none of them is made up for, one, or the
    newest of them, at most as many as its number says.
    """
    kind, most = policy
    counted, times, next_ms = _moments(timing, jitter, first_ms, now_ms, max(most, 1))
    late = [one for one in times if now_ms - jitter.due_ms(one) > ON_TIME_MS]
    made_up = {"skip": 0, "once": 1, "all": most}[kind]
    left = late[: len(late) - made_up] if made_up < len(late) else []
    fires = [one for one in times if one not in set(left)] if left else times
    missed = -1 if counted < 0 else counted - len(fires)
    if missed == 0:
        return Due(fires, next_ms=next_ms)
    until = left[-1] if left else first_ms
    return Due(fires, missed, first_ms, until, next_ms)


def fires_per_minute(timing: Timing, at_ms: int) -> int:
    """Give how often a minute it fires where it fires most often in its near future; 0: once."""
    first, gap = timing.next_after(at_ms), 0
    for _ in range(10):
        second = None if first is None else timing.next_after(first)
        if first is None or second is None:
            break
        gap = min(gap, second - first) if gap else second - first
        first = second
    return -(-_MINUTE_MS // gap) if gap else 0


def read_timing(
    cron: str | None, every_s: int | None, at: str | None, *, zone: str, now_ms: int
) -> Timing:
    """
    Take the definition that a client gives: one of the three.

    Raises:
        Invalid: none or several are given; it is malformed, never fires, or lies in the past.
    """
    given = [
        name for name, one in (("cron", cron), ("every_s", every_s), ("at", at)) if one is not None
    ]
    if len(given) != 1:
        raise Invalid(
            "give one of `cron`, `every_s` and `at`", pointer=f"/{given[1]}" if given else "/cron"
        )
    check_zone(zone)
    if cron is not None:
        return ByCron(Cron.parse(cron, zone, _moment(now_ms)))
    if every_s is not None:
        if not 1 <= every_s <= MAX_EVERY_S:
            raise Invalid(f"it must be 1 to {MAX_EVERY_S} seconds", pointer="/every_s")
        return Every(every_s * 1000, now_ms + every_s * 1000)
    return Once(_read_moment(at or "", zone, now_ms))


def _moments(
    timing: Timing, jitter: Jitter, first_ms: int, now_ms: int, most: int
) -> tuple[int, list[int], int | None]:
    """Give how many are due, -1: too many to count; the newest of them; and the next one."""
    # What is on time may be as much as the newest `most`: once a second at the most.
    newest: deque[int] = deque(maxlen=most + ON_TIME_MS // 1000 + 2)
    counted, at_ms = 0, first_ms
    while jitter.due_ms(at_ms) <= now_ms:
        newest.append(at_ms)
        counted += 0 if counted < 0 else 1
        following = timing.next_after(at_ms)
        if following is None:
            return counted, list(newest), None
        at_ms = following
        if counted == _COUNTED:
            size = (newest.maxlen or 1) + jitter.most_ms // 1000
            jumped = timing.next_after(timing.some_before(now_ms, size))
            jumped = max(at_ms, jumped or at_ms)
            between = timing.count(at_ms, jumped)
            counted, at_ms = -1 if between is None else counted + between, jumped
    return counted, list(newest), at_ms


def _read_moment(text: str, zone: str, now_ms: int) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            "it must be a date and time such as 2027-01-31T09:00:00+01:00, or without an offset "
            "the local time of `time_zone`",
            pointer="/at",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    try:
        at_ms = round(moment.timestamp() * 1000)
    except (OverflowError, ValueError):
        at_ms = -1
    if at_ms <= now_ms:
        raise Invalid("it is in the past", pointer="/at")
    return at_ms


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
