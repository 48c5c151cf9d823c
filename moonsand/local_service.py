"""A whole service on this machine, for `moonsand serve` and the demo: Redis and every role."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from core.errors import Refused, Unavailable
from core.redis_client import check_server_async, connect_async
from core.redis_server import PrivateRedis
from core.settings import Settings
from moonsand.fleet import Fleet, Role
from moonsand.local_ledger import ledger_environments
from moonsand.local_state import LocalState
from moonsand.local_triggers import trigger_environment
from tenancy.keys import KeyStore
from tenancy.scopes import Role as KeyRole
from tenancy.tenants import DEVELOPMENT

_READY_S = 60.0
_POLL_S = 0.05
_REDIS_WATCH_S = 0.5
_BACKLOG = 1024


@dataclass(frozen=True)
class Plan:
    """What to start. `port` 0 takes a free one; `log` None leaves logs on stderr."""

    settings: Settings
    directory: Path
    workers: int = 1
    log: Path | None = None
    accounts: Path | None = None
    notice: Callable[[str], None] = field(default=print)


@dataclass(frozen=True, slots=True)
class Running:
    """A service that answers."""

    url: str
    key: str
    redis_url: str
    fleet: Fleet


@asynccontextmanager
async def local_service(plan: Plan) -> AsyncIterator[Running]:
    """
    Start a service, wait until it is ready, and end it in order: API and workers, then Redis.

    Raises:
        Unavailable: Redis cannot be had, the port is taken, or the API did not become ready.
    """
    if plan.log is not None and plan.log.exists():
        plan.log.replace(plan.log.with_suffix(".log.1"))
    server = None if plan.settings.redis_url else PrivateRedis(plan.directory)
    redis_url = plan.settings.redis_url or (server.start() if server else "")
    fleet = Fleet(plan.notice, grace_s=plan.settings.shutdown_grace_s + 5.0, log=plan.log)
    watch = asyncio.create_task(_keep_alive(server, plan.notice)) if server else None
    listener = None
    try:
        key = await _development_key(redis_url, plan)
        listener = _listen(plan.settings.host, plan.settings.port)
        url = _url_of(listener)
        for role in _roles(plan, redis_url, listener):
            await fleet.start(role)
        await _until_ready(url, fleet, plan.log)
        LocalState(url, key, redis_url).save(plan.directory)
        yield Running(url, key, redis_url, fleet)
    finally:
        await fleet.stop()
        if listener is not None:
            listener.close()
        if watch is not None:
            watch.cancel()
        if server is not None:
            server.stop()


def _roles(plan: Plan, redis_url: str, listener: socket.socket) -> list[Role]:
    environment = {"REDIS_URL": redis_url}
    fd = listener.fileno()
    read, write = ledger_environments(plan.settings, plan.directory)
    triggers = trigger_environment(plan.settings, plan.directory)
    roles = [Role("api", ["api", "--fd", str(fd)], environment | read | triggers, [fd])]
    roles.append(Role("sequencer", ["sequencer"], environment | write))
    roles.append(Role("scheduler", ["scheduler"], environment | triggers))
    if plan.accounts is not None:
        environment = {**environment, "MOONSAND_ACCOUNTS": str(plan.accounts.absolute())}
    slots = ["worker", "--slots", str(plan.settings.slots)]
    return roles + [Role(f"worker {n}", slots, environment) for n in range(1, plan.workers + 1)]


def _listen(host: str, port: int) -> socket.socket:
    """Listen here, in the parent, so that a restarted API misses no connection."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host} port {port}: {_words(error)}",
            hint="stop what uses the port, or choose another with --port",
        ) from None


def _words(error: OSError) -> str:
    # `create_server` adds the address to the system's words; we have named it already.
    system = error.errno is not None and not isinstance(error, socket.gaierror)
    return os.strerror(error.errno) if system and error.errno else str(error.strerror or error)


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (only translated)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _development_key(redis_url: str, plan: Plan) -> str:
    """Give the key of the last time if it still opens all that a new one does, else a new one."""
    scopes = KeyRole.DEVELOPER.scopes
    async with connect_async(redis_url) as redis:
        await check_server_async(redis, plan.settings.environment)
        store, last = KeyStore(redis), LocalState.load(plan.directory)
        if last is not None:
            try:
                record = await store.authenticate(last.key)
                if record.tenant == DEVELOPMENT and set(scopes) <= set(record.scopes):
                    return last.key
            except Refused:  # another Redis, or it was revoked
                pass
        plain, _ = await store.create(DEVELOPMENT, "moonsand serve", scopes=scopes)
        return plain


async def _until_ready(url: str, fleet: Fleet, log: Path | None) -> None:
    """Wait for the API and a worker; a process that dies before is no accident of one moment."""
    end = asyncio.get_running_loop().time() + _READY_S
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=5.0) as client:
        while fleet.last_death is None and asyncio.get_running_loop().time() < end:
            try:
                if (await client.get("/readyz")).is_success:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(_POLL_S)
    what = fleet.last_death or f"it was not ready within {_READY_S:g} s"
    raise Unavailable(f"the service did not start: {what}", hint=_last_words(log))


def _last_words(log: Path | None) -> str:
    """Give what a process of ours said of its own end, or where to read it."""
    if log is None:
        return "its log is above"
    lines = log.read_text(errors="replace").splitlines()
    complaints = [line for line in lines if line.startswith("moonsand: ")]
    return complaints[-1].removeprefix("moonsand: ") if complaints else f"its log is {log}"


async def _keep_alive(server: PrivateRedis, notice: Callable[[str], None]) -> None:
    """Start the private Redis again when it dies; what it was given is in its file."""
    while True:
        await asyncio.sleep(_REDIS_WATCH_S)
        if not server.alive:
            notice("redis ended; starting it again")
            try:
                server.start()
            except Unavailable as error:
                notice(f"{error.detail}; trying again")


def directory_of(given: Path | None, default: Path) -> Path:
    """Give the directory of a service, made if need be, closed to others."""
    directory = (given or default).absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot use {directory}: {error.strerror}") from None
    if not os.access(directory, os.W_OK):
        raise Unavailable(f"cannot write in {directory}", hint="choose another with --data-dir")
    return directory
