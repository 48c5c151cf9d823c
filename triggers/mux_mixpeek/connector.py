"""
The connector put together: connections, syncs, their cycles, and events of Mux.

Runs in: api, scheduler. Trusts: its settings. Refuses: nothing.
May import: stdlib, redis, core, runs, triggers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from triggers.mux_mixpeek.connections import Connections
from triggers.mux_mixpeek.cycles import Cycles
from triggers.mux_mixpeek.jobs import Jobs
from triggers.mux_mixpeek.syncs import Syncs
from triggers.mux_mixpeek.work import Workshop

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from runs.store import RunStore
    from triggers.trigger_keys import TriggerKeys


@dataclass(frozen=True, slots=True)
class Connector:
    """The parts of the connector."""

    connections: Connections
    syncs: Syncs
    workshop: Workshop
    cycles: Cycles
    jobs: Jobs


def connector_of(redis: Redis, store: RunStore, trigger_keys: TriggerKeys | None) -> Connector:
    """Put the connector together; `trigger_keys` open webhook secrets."""
    connections, syncs = Connections(redis, trigger_keys), Syncs(redis)
    workshop = Workshop(redis, store)
    cycles = Cycles(syncs, connections, store, workshop)
    jobs = Jobs(redis, connections, syncs, store, workshop)
    return Connector(connections, syncs, workshop, cycles, jobs)
