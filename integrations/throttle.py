"""
How often and how many at once: the rates and concurrency of one account of a vendor.

Every worker asks before each request. What stands here counts in this process, for local runs;
a service counts in Redis, behind the same interface.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from integrations.pack_wire import Rate

#: Seconds between two looks for a free place.
PLACE_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Gate:
    """
    What one request has to pass: a bucket of its account, and a place among those under way.

    `account` names tenant, integration and account; `bucket` the rate among the account's.
    `lease` is unique to the request; its place is free again after `lease_s` whatever happens.
    `tenant`, empty for local runs, may have a quota of requests to `integration`, and so may the
    key that started `run_id`.
    """

    account: str
    bucket: str | None
    rate: Rate | None
    concurrency: int | None
    lease: str
    lease_s: float
    tenant: str = ""
    run_id: str = ""
    integration: str = ""

    @property
    def bounds(self) -> bool:
        """Tell whether there is anything that may hold the request up."""
        return bool(self.tenant or self.rate or self.concurrency)


class QuotaUsedUp(Exception):
    """
    A quota of the tenant's or of its key's, `whose`, lets no further request pass.

    `used` of `allowed` were sent in the last minute; after `wait_s` seconds there is room for one.
    """

    def __init__(self, whose: str, quota: str, allowed: int, used: int, wait_s: int) -> None:
        super().__init__(quota)
        self.whose, self.quota, self.allowed, self.used = whose, quota, allowed, used
        self.wait_s = wait_s


class ThrottleUnavailable(Exception):
    """
    Nobody can say whether the request may go now: our fault, of which no script is told.

    The attempt ends, and the run goes on over its tape, on which the call is one that did nothing.
    """


class Throttle(Protocol):
    """Lets requests pass, or says how long to wait."""

    async def enter(self, gate: Gate) -> float:
        """
        Give 0 when the request may go now, and count it; else the seconds to wait and ask again.

        Raises:
            ThrottleUnavailable: it cannot be told.
            QuotaUsedUp: a quota is used up; nothing was counted.
        """

    async def leave(self, gate: Gate) -> None:
        """Give the place back; never raises."""


@dataclass(slots=True)
class MemoryThrottle:
    """Counts in this process, without quotas. `now` gives seconds that never go back."""

    now: Callable[[], float] = time.monotonic
    _due: dict[str, float] = field(default_factory=dict)
    _places: dict[str, dict[str, float]] = field(default_factory=dict)

    async def enter(self, gate: Gate) -> float:
        """Give 0 and count the request, or the seconds to wait."""
        now = self.now()
        places = self._places.setdefault(gate.account, {})
        if gate.concurrency is not None:
            for lease in [one for one, ends in places.items() if ends <= now]:
                del places[lease]
            if len(places) >= gate.concurrency and gate.lease not in places:
                return PLACE_POLL_S
        if gate.rate is not None:
            key = f"{gate.account}/{gate.bucket}"
            each = 1 / gate.rate.per_s
            due = max(self._due.get(key, now), now)
            wait = due - now - each * (gate.rate.burst - 1)
            # A rounding error of the clock is no reason to wait.
            if wait > 1e-6:
                return wait
            self._due[key] = due + each
        if gate.concurrency is not None:
            places[gate.lease] = now + gate.lease_s
        return 0.0

    async def leave(self, gate: Gate) -> None:
        """Give the place back."""
        self._places.get(gate.account, {}).pop(gate.lease, None)
