"""What one API process holds open, made at its start and closed at its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from fastapi import Request
from redis.asyncio import Redis

from api.checks import Checks
from api.triggers import Triggers
from core.errors import QuotaExceeded, Unavailable
from core.redis_client import connect_async
from core.settings import Settings
from integrations.catalog import Catalog
from runs.acceptance import Terms
from runs.batches.store import BatchStore
from runs.packs import note_packs
from runs.store import RunStore
from runs.wakeups import Wakeups
from tenancy.desk import Desk
from tenancy.keys import KeyStore
from tenancy.sealing_key import SealingKey
from triggers.mux_mixpeek.connector import Connector, connector_of
from triggers.trigger_keys import TriggerKeys

#: Event streams one tenant may hold open in one process; each holds a Redis connection.
MAX_STREAMS_PER_TENANT = 64
#: Uploads of batches that one tenant may have under way in one process.
MAX_UPLOADS_PER_TENANT = 16


@dataclass(frozen=True)
class Services:
    """The open things; `draining` is set when the process was told to stop."""

    settings: Settings
    redis: Redis
    keys: KeyStore
    store: RunStore
    batches: BatchStore
    wakeups: Wakeups
    checks: Checks
    catalog: Catalog
    desk: Desk
    connector: Connector
    triggers: Triggers
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    streams: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def upload_of(self, tenant: str) -> Iterator[None]:
        """
        Count one upload of a batch.

        Raises:
            QuotaExceeded: the tenant has `MAX_UPLOADS_PER_TENANT` under way here.
        """
        with _counted(self.uploads, tenant, MAX_UPLOADS_PER_TENANT, "uploads"):
            yield

    @contextmanager
    def stream_of(self, tenant: str) -> Iterator[None]:
        """
        Count one open event stream.

        Raises:
            QuotaExceeded: the tenant has `MAX_STREAMS_PER_TENANT` open here.
        """
        with _counted(self.streams, tenant, MAX_STREAMS_PER_TENANT, "event streams"):
            yield


@contextmanager
def _counted(counter: Counter[str], tenant: str, most: int, what: str) -> Iterator[None]:
    if counter[tenant] >= most:
        raise QuotaExceeded(
            f"{most} {what} are open, which is all that is allowed",
            retry_after_s=5,
            hint="close some, or try again later",
        )
    counter[tenant] += 1
    try:
        yield
    finally:
        counter[tenant] -= 1
        if not counter[tenant]:
            del counter[tenant]


@asynccontextmanager
async def open_services(settings: Settings, catalog: Catalog) -> AsyncIterator[Services]:
    """
    Open all that the API needs. Whether this Redis is fit is checked by who starts the process.

    Raises:
        Unavailable: no Redis was named.
        Invalid: the sealing key of the vault, or a trigger key, cannot be used.
        RedisError: it does not answer.
    """
    if settings.redis_url is None:
        raise Unavailable("no Redis was named", hint="set REDIS_URL")
    sealing_key = SealingKey.of_settings(settings)
    trigger_keys = TriggerKeys.of_settings(settings)
    redis = connect_async(settings.redis_url)
    terms = Terms.of_settings(settings)
    try:
        with Checks(catalog) as checks:
            await note_packs(redis, catalog, "api")
            async with Wakeups(redis) as wakeups:
                keys, store = KeyStore(redis), RunStore(redis, terms)
                desk = Desk(redis, sealing_key)
                yield Services(
                    *(settings, redis, keys, store, BatchStore(redis, terms)),
                    *(wakeups, checks, catalog, desk),
                    connector=connector_of(redis, store, trigger_keys),
                    triggers=Triggers.of(settings, redis, store, trigger_keys),
                )
    finally:
        await redis.aclose()


def services_of(request: Request) -> Services:
    """Give the services of the application that answers `request`."""
    services = request.app.state.services
    assert isinstance(services, Services)  # noqa: S101 (set before the first request)
    return services
