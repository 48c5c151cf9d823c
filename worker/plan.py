"""How one worker behaves: its name, how much it takes on, how often it shows that it lives."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.redis_tape import NO_REPLICAS, Replicas


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """
    What a worker is started with. Times are in seconds.

    A lease that is not renewed for `lease_s` is over, and some worker notices within `sweep_s`.
    A run that was lost `attempts` times ends. An intent must reach `replicas` before anything is
    sent. `share` bounds one tenant's runs for each live worker, 0 for no bound. `grace_s` is how
    long runs in hand may go on after the worker was asked to stop. `worker_ttl_s` is how long Redis
    remembers a silent worker.
    """

    name: str
    slots: int
    lease_s: int = 12
    share: int = 0
    grace_s: float = 30.0
    worker_ttl_s: int = 90
    attempts: int = 5
    wait_max_s: int = 30 * 86_400
    wait_in_place_ms: int = 1_000
    replicas: Replicas = NO_REPLICAS

    @property
    def beat_s(self) -> float:
        """Give the time between two heartbeats: three may be missed."""
        return self.lease_s / 4

    @property
    def sweep_s(self) -> float:
        """Give the time between two looks for what others left behind."""
        return self.lease_s / 6


def with_reserve(slots: int) -> int:
    """Give how many slots a worker has whose one tenant may fill `slots`: an eighth more."""
    return slots + slots // 8
