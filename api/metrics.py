"""
What Prometheus reads: this process's requests, and how the whole service is.

Runs in: api. Trusts: Redis. Refuses: to grow with the number of tenants, or to take longer than
two seconds. May import: prometheus_client, core, runs.

What concerns the whole service is the same from every API process, so that any one of them will do:
take `max`, not `sum`. Only requests are each process's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError

from api.health import WITHIN_S
from runs import survey
from runs.endings import state_of
from sandbox.outcome import Reason

if TYPE_CHECKING:
    from starlette.types import Scope

    from api.services import Services
    from runs.survey import Queues, Vitals

CONTENT_TYPE = CONTENT_TYPE_LATEST
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# A time of birth beside each counter doubles the lines, and nothing here asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]
_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Requests:
    """Counts this process's requests, by route as it is written and not as it was asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._count = Counter(
            "moonsand_http_requests",
            "Requests that this process has answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "moonsand_http_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request that has ended; `status` is 0 when its client left first."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        # A path that is none of ours could be anything, and there is no end of those.
        route = getattr(scope.get("route"), "path", "none")
        self._count.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class _Found:
    """Gives prometheus_client what was found, once."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


async def exposition(services: Services, requests: Requests) -> bytes:
    """Write all metrics in Prometheus' text format; without Redis, those of this process."""
    began, found = time.monotonic(), _Families()
    settings = services.settings
    try:
        vitals = await survey.vitals(
            services.redis, silence_s=2 * settings.lease_s, within_s=WITHIN_S
        )
        left_s = max(0.1, WITHIN_S - (time.monotonic() - began))
        names = settings.metrics_tenants
        queues = await survey.queues(services.redis, names=names, within_s=left_s)
        ended = await survey.ended(services.redis, within_s=left_s)
    except (RedisError, OSError, TimeoutError) as error:
        structlog.get_logger(__name__).warning("redis_away", error=type(error).__name__)
        found.gauge("redis_up", "1 when Redis answers.", 0)
    else:
        found.gauge("redis_up", "1 when Redis answers.", 1)
        found.of_vitals(vitals, settings.ledger_inbox_max)
        found.of_queues(queues, vitals)
        found.of_ends(ended)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(found.families))
    return generate_latest(requests.registry) + generate_latest(registry)


class _Families:
    """The metrics of one answer, made of what was found."""

    def __init__(self) -> None:
        self.families: list[Metric] = []

    def gauge(self, name: str, meaning: str, value: float) -> None:
        self.families.append(GaugeMetricFamily(f"moonsand_{name}", meaning, value=value))

    def of_vitals(self, found: Vitals, inbox_max: int) -> None:
        self.gauge("redis_writes", "1 when Redis takes writes.", found.refusal is None)
        self.gauge("redis_answer_seconds", "Seconds Redis took to answer.", found.answered_s)
        self.gauge("redis_memory_bytes", "Memory Redis uses.", found.memory_bytes)
        self.gauge(
            "redis_memory_limit_bytes", "maxmemory of Redis; 0: none.", found.memory_limit_bytes
        )
        self.gauge("workers", "Workers that show signs of life.", found.workers)
        self.gauge("worker_slots", "Slots of those workers.", found.slots)
        self.gauge("worker_slots_busy", "Slots in which a run is executed.", found.running)
        self.gauge("schedulers", "Schedulers that show signs of life.", found.schedulers)
        self.gauge("sequencer_at_work", "1 when a sequencer takes the inbox.", found.sequencer)
        self.gauge("ledger_inbox_entries", "Entries that wait for the sequencer.", found.inbox)
        self.gauge("ledger_inbox_limit", "Entries from which no run is accepted.", inbox_max)
        self.gauge(
            "ledger_inbox_oldest_seconds", "Age of the first that waits.", found.inbox_oldest_s
        )

    def of_queues(self, found: Queues, vitals: Vitals) -> None:
        runs = GaugeMetricFamily("moonsand_runs", "Runs that have not ended.", labels=("state",))
        for state, count in (
            ("queued", found.queued),
            ("running", vitals.running),
            ("waiting", vitals.waiting),
        ):
            runs.add_metric((state,), count)
        self.families.append(runs)
        self.gauge("queued_oldest_seconds", "Age of the oldest queued run.", found.oldest_s)
        self.gauge("queued_tenants", "Tenants with something queued.", found.tenants)
        self.gauge("queued_tenants_capped", "Of these, at their cap.", found.capped)
        self.gauge(
            "queued_partial",
            f"1 when only {survey.MAX_TENANTS} of those tenants were counted.",
            found.partial,
        )
        depth = GaugeMetricFamily(
            "moonsand_queue_depth", "Queued runs of the deepest queues.", labels=("tenant",)
        )
        oldest = GaugeMetricFamily(
            "moonsand_queue_oldest_seconds", "Age of the oldest run there.", labels=("tenant",)
        )
        for one in found.deepest:
            depth.add_metric((one.tenant,), one.depth)
            oldest.add_metric((one.tenant,), one.oldest_s)
        self.families += [depth, oldest]

    def of_ends(self, ended: dict[str, int]) -> None:
        runs = CounterMetricFamily(
            "moonsand_runs_ended", "Runs that ended.", labels=("state", "reason")
        )
        for reason in Reason:
            runs.add_metric((state_of(reason).value, reason.value), ended.get(reason.value, 0))
        self.families.append(runs)
