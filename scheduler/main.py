"""
Where a scheduler is put together: settings in, duties done, exit code out.

Runs in: scheduler. Trusts: its settings. Refuses: to start with a Redis that would lose runs.
May import: everything but api, worker, moonsand and what runs Lua.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from core.errors import Unavailable
from core.logs import configure_logs
from core.redis_client import check_server_async, connect_async
from core.tasks import end_tasks
from runs.acceptance import Terms
from runs.store import RunStore
from scheduler import callbacks, syncing
from scheduler.beat import Beat
from scheduler.duties import Duty, keep
from scheduler.expiring import Expiring
from scheduler.feeding import Calls, Feeding
from scheduler.schedules import Schedules

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from core.settings import Settings


def run_scheduler(settings: Settings) -> int:
    """
    Do what is due until asked to stop (SIGINT, SIGTERM); give 0.

    Raises:
        Unavailable: no Redis, or one that would lose runs in production.
    """
    configure_logs(settings.log_level)
    if settings.redis_url is None:
        raise Unavailable("no Redis is configured", hint="set REDIS_URL")
    asyncio.run(_run(settings, settings.redis_url))
    return 0


def duties_of(settings: Settings, redis: Redis) -> list[Duty]:
    """Give all duties; each is done by every scheduler."""
    feeding = Feeding(redis, Terms.of_settings(settings))
    duties: list[Duty] = [feeding, Calls(redis, feeding), Expiring(redis)]
    duties.append(syncing.of_settings(settings, redis))
    duties.append(Schedules(redis, RunStore(redis, Terms.of_settings(settings))))
    sending = callbacks.of_settings(settings, redis)
    if sending is None:
        hint = "no trigger key is given: set MOONSAND_TRIGGER_KEYS_FILE"
        structlog.get_logger(__name__).info("callbacks_off", hint=hint)
    return duties if sending is None else [*duties, sending]


async def _run(settings: Settings, redis_url: str) -> None:
    log = structlog.get_logger(__name__)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with connect_async(redis_url) as redis:
        await check_server_async(redis, settings.environment)
        beat = Beat(redis, name)
        duties: list[Duty] = [beat, *duties_of(settings, redis)]
        tasks = [asyncio.create_task(keep(one), name=one.name) for one in duties]
        log.info("scheduler_started", scheduler=name)
        await stop.wait()
        await end_tasks(*tasks)
        with suppress(RedisError, OSError):  # it will be forgotten all the same
            await beat.sign_off()
    log.info("scheduler_stopped", scheduler=name)
