"""
The end of a tenant that is to be deleted: what would start something, and what it has under way.

Each part is removed by its own store, with its own ledger leaf. Done again, it removes what is
left: nothing here is half a deletion, and the tenant's record is changed after all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from core import keys
from core.errors import NotFound
from runs.batches.store import BatchStore
from runs.cancelling_many import Chosen, cancel_chosen
from runs.store import redis_errors
from tenancy.key_record import KeyRecord
from triggers.callback_store import CallbackStore
from triggers.callback_url import UrlPolicy
from triggers.hook_store import HookStore
from triggers.mux_mixpeek.connections import Connections
from triggers.mux_mixpeek.syncs import Syncs
from triggers.schedule_store import ScheduleStore
from triggers.scripts import SavedScripts

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PAGE = 100


async def end_tenant(redis: Redis, tenant: str, *, by: str) -> None:
    """
    Delete a suspended tenant's triggers and saved scripts; cancel its batches and runs.

    `by` is the id of the key that asks, or `cli`. Runs that a worker has in hand end within seconds
    after this.

    Raises:
        Unavailable: Redis did not confirm; asking again is harmless.
    """
    await _delete_triggers(redis, tenant, by)
    with redis_errors("some runs may have been cancelled; asking again is harmless"):
        batches = BatchStore(redis)
        opened: Any = await cast("Awaitable[Any]", redis.zrange(keys.open_batches(tenant), 0, -1))
        for one in opened:
            with suppress(NotFound):
                await batches.cancel(tenant, one.decode())
        while (await cancel_chosen(redis, tenant, Chosen())).has_more:
            pass


async def _delete_triggers(redis: Redis, tenant: str, by: str) -> None:
    syncs, connections = Syncs(redis), Connections(redis, None)
    schedules, scripts = ScheduleStore(redis), SavedScripts(redis)
    hooks, callbacks = HookStore(redis, None), CallbackStore(redis, None, UrlPolicy())
    asking = KeyRecord(id=by, tenant=tenant, name="", last4="", created_ms=0, digest="", scopes=())
    async for sync in _all(syncs.page, tenant):
        await _gone(syncs.remove(sync, by=by))
    async for connection in _all(connections.page, tenant):
        await _gone(connections.remove(tenant, connection.id, by=by))
    async for schedule in _all(schedules.page, tenant):
        await _gone(schedules.delete(asking, schedule.id))
    async for hook in _all(hooks.page, tenant):
        await _gone(hooks.delete(tenant, hook.id, by=by))
    async for callback in _all(callbacks.page, tenant):
        await _gone(callbacks.delete(tenant, callback.id, by=by))
    while True:
        saved, _ = await scripts.page(tenant, after=None, limit=_PAGE)
        for script in saved:
            await _gone(scripts.delete(tenant, script.name))
        if not saved:
            return


async def _all(
    page: Callable[..., Awaitable[tuple[list[Any], str | None]]], tenant: str
) -> AsyncIterator[Any]:
    cursor: str | None = None
    while True:
        found, cursor = await page(tenant, cursor=cursor, limit=_PAGE)
        for one in found:
            yield one
        if cursor is None:
            return


async def _gone(deleting: Awaitable[None]) -> None:
    with suppress(NotFound):  # another was faster
        await deleting
