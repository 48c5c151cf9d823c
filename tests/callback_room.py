"""Callbacks without an API: endpoints, runs that end, and a scheduler that sends of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio

from core.clock import Clock, now_ms
from core.ids import new_id
from core.tasks import end_tasks
from integrations.vendor_http import VendorHttp
from runs.redis_scripts import load
from scheduler.callbacks import Callbacks
from scheduler.duties import keep
from tenancy.master_keys import new_line
from tests.deadline import Deadline
from triggers.callback_store import CallbackStore
from triggers.callback_url import UrlPolicy
from triggers.callbacks import Endpoint
from triggers.delivery_log import DeliveryLog
from triggers.trigger_keys import TriggerKeys

KEYS = TriggerKeys.parse(new_line("k1"))
HERE = UrlPolicy(plain=True, loopback=True)
Redis = redis.asyncio.Redis
_NOW_MS = 1_700_000_000_000
_QUEUE = load("lib_callback").text + (
    "\nqueue_callback(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])"
)


@dataclass(frozen=True, slots=True)
class Room:
    """One Redis, and what is done with it."""

    redis: Redis
    store: CallbackStore
    log: DeliveryLog
    deadline: Deadline

    @classmethod
    def of(cls, redis: Redis, deadline: Deadline) -> Room:
        """Put everything on an empty Redis."""
        return cls(redis, CallbackStore(redis, KEYS, HERE), DeliveryLog(redis), deadline)

    async def endpoint(self, url: str | None, tenant: str = "acme") -> tuple[Endpoint, str]:
        """Make an endpoint, and give its secret."""
        return await self.store.create(tenant, "test", url, by="key_x")

    async def ended(self, callback: str, tenant: str = "acme", subject: str | None = None) -> str:
        """End a run that is told of, and give the id of its delivery."""
        run = subject or new_id("run")
        await cast("Any", self.redis.eval)(
            _QUEUE, 0, tenant, callback, "run.finished", run, "succeeded", "ok", _NOW_MS, ""
        )
        return f"dlv_{run[-26:]}"

    async def settled(self, delivery: str, tenant: str = "acme") -> Any:
        """Wait until a delivery is no longer pending."""

        async def probe() -> Any:
            found = await self.log.get(tenant, delivery)
            return found if found.state != "pending" else None

        return await self.deadline.reached(probe, f"the end of {delivery}")

    async def tried(self, delivery: str, attempts: int = 1) -> Any:
        """Wait until a delivery was tried so often."""

        async def probe() -> Any:
            found = await self.log.get("acme", delivery)
            return found if found.attempts >= attempts else None

        return await self.deadline.reached(probe, f"attempt {attempts} of {delivery}")


@asynccontextmanager
async def sending(
    redis: Redis,
    http: VendorHttp | None = None,
    *,
    lease_ms: int = 30_000,
    policy: UrlPolicy = HERE,
    clock: Clock = now_ms,
) -> AsyncIterator[asyncio.Task[None]]:
    """Let a scheduler of this process send until the end of the block."""
    duty = Callbacks(redis, http or VendorHttp(), KEYS, policy, clock=clock, lease_ms=lease_ms)
    task = asyncio.create_task(keep(duty))
    try:
        yield task
    finally:
        await end_tasks(task)


def holds(probe: Callable[[], bool]) -> Callable[[], Any]:
    """Make a probe of what is asked without waiting."""

    async def asked() -> bool:
        return probe()

    return asked
