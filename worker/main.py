"""
Where a worker is put together: settings in, runs executed, exit code out.

Runs in: worker. Trusts: its settings. Refuses: to start without a jail, or with a Redis that
would lose runs. May import: everything but api, moonsand and sandbox.child.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from core.clock import now_ms
from core.errors import ServiceError, Unavailable
from core.logs import configure_logs
from core.redis_client import check_server, connect, connect_async
from core.tasks import end_tasks
from integrations.accounts import AccountsFile
from integrations.broker import Broker
from integrations.catalog import Catalog
from integrations.mcp.pool import McpPool, preload
from integrations.mcp.run_servers import McpServers
from integrations.mcp.trusted_tools import TrustedTools
from integrations.vendor_http import MAX_CONNECTIONS, VendorHttp
from ledger.redis_tape import Replicas
from runs.packs import note_packs
from runs.redis_throttle import RedisThrottle
from sandbox.supervisor import Sandbox, SandboxUnavailable
from tenancy.master_keys import MasterKeys
from tenancy.vault import Vault
from worker.engine import Engine, Parts
from worker.plan import WorkerPlan, with_reserve
from worker.slot_worker import SlotWorker, enqueue_dependents
from worker.slots import Room
from worker.vault_desk import VaultDesk
from worker.vaulted_accounts import VaultedAccounts

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings

_MAX_SPARES = 16
EXIT_OK = 0
EXIT_OURS = 3


def run_worker(settings: Settings, *, slots: int, burst: bool = False) -> int:
    """
    Execute runs until asked to stop (SIGINT, SIGTERM), or until all queues are empty in a burst.

    Returns:
        0 when it stopped as asked, 3 when an error of ours ended it.

    Raises:
        Unavailable: no Redis, one that would lose runs in production, or no jail on this host.
    """
    configure_logs(settings.log_level)
    if settings.redis_url is None:
        raise Unavailable("no Redis is configured", hint="set REDIS_URL")
    with connect(settings.redis_url) as redis:
        check_server(redis, settings.environment)
    room = slots if settings.tenant_slots else with_reserve(slots)
    plan = WorkerPlan(
        name=_name(),
        slots=room,
        lease_s=settings.lease_s,
        attempts=settings.attempts,
        wait_max_s=settings.wait_max_s,
        wait_in_place_ms=settings.wait_in_place_ms,
        replicas=Replicas(settings.tape_replicas, settings.tape_replicas_ms),
        share=settings.tenant_slots or slots,
        grace_s=settings.shutdown_grace_s,
    )
    make_parts = partial(_make_parts, settings, settings.redis_url, room)
    return work(plan, settings.redis_url, make_parts, burst=burst)


def work(
    plan: WorkerPlan,
    redis_url: str,
    make_parts: Callable[[], Coroutine[Any, Any, Parts]],
    *,
    burst: bool = False,
) -> int:
    """Do as `run_worker` does, with parts that the caller chooses."""
    redis = connect(redis_url)
    room = Room(plan.slots)
    engine = Engine(plan, redis_url, room, make_parts, partial(enqueue_dependents, redis))
    worker = SlotWorker(redis, plan, engine, room)
    log = structlog.get_logger(__name__)
    try:
        engine.start()
    except SandboxUnavailable as missing:
        raise Unavailable(str(missing), hint="`moonsand doctor` says what is missing") from missing
    try:
        log.info("worker_started", worker=worker.name)
        worker.work(burst=burst, logging_level="WARNING")
    finally:
        broken = not engine.alive
        engine.close()
    log.info("worker_stopped", worker=worker.name, broken=broken)
    return EXIT_OURS if broken else EXIT_OK


async def _make_parts(settings: Settings, redis_url: str, slots: int) -> Parts:
    catalog = Catalog.load(operator=settings.packs_dir)
    accounts = AccountsFile.load(settings.accounts, catalog) if settings.accounts else None
    local = settings.environment == "development"
    http = VendorHttp(max(MAX_CONNECTIONS, 2 * slots), allow_local=local)
    mcp = _mcp_servers(settings.mcp_servers, allow_local=local)
    sandbox = Sandbox(spares=min(slots, _MAX_SPARES))
    redis = connect_async(redis_url)
    always: list[asyncio.Task[None]] = []

    async def close() -> None:
        await end_tasks(*always)
        await sandbox.close()
        await http.close()
        if mcp is not None:
            await mcp.pool.close()
        await redis.aclose()

    try:
        masters = MasterKeys.of_settings(settings)
        vault = Vault(redis, masters)
        await _check_vault(vault, settings.environment)
        await note_packs(redis, catalog, "worker")
        await sandbox.start()
    except BaseException:
        await redis.aclose()
        raise
    broker = Broker(catalog, http, now_ms, RedisThrottle(redis), mcp)
    file = accounts or AccountsFile({})
    if masters is not None:
        desk = VaultDesk(redis, vault, masters, file, catalog)
        always.append(asyncio.create_task(desk.run(), name="vault-desk"))
    vaulted = VaultedAccounts(vault, file, catalog)
    return Parts(sandbox, broker, vaulted, close)


def _mcp_servers(path: Path | None, *, allow_local: bool) -> McpServers | None:
    if path is None:
        return None
    preload()
    return McpServers(TrustedTools.load(path), McpPool(allow_local=allow_local))


async def _check_vault(vault: Vault, environment: str) -> None:
    try:
        await vault.check()
    except ServiceError as problem:
        if environment == "production":
            raise
        # Runs of tenants whose vault does not open end as `internal`.
        structlog.get_logger(__name__).warning("vault_unusable", finding=problem.detail)


def _name() -> str:
    host = "".join(one if one.isalnum() else "-" for one in socket.gethostname())[:40]
    return f"{host}.{os.getpid()}.{secrets.token_hex(4)}"
