"""`moonsand tenants`: who uses the service, straight in Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from moonsand.exits import Exit
from moonsand.terminal import write_error, write_output

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tenancy.tenant_record import TenantRecord
    from tenancy.tenant_store import TenantStore

T = TypeVar("T")
_BY = "cli"

app = typer.Typer(no_args_is_help=True, help="Create, list, suspend, resume and delete tenants.")

Name = Annotated[str, typer.Argument(metavar="TENANT", help="Name of the tenant.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command()
def create(tenant: Name) -> int:
    """Create a tenant, without keys; `moonsand keys create --tenant` makes its first."""
    record = _with_tenants(lambda store: store.create(tenant, by=_BY))
    write_output(f"{_row(record)}\n")
    return Exit.SUCCEEDED


@app.command("list")
def list_tenants(as_json: AsJson = False) -> int:
    """List all tenants in order of names, those that were deleted too."""

    async def write(store: TenantStore) -> None:
        after: str | None = None
        while True:
            records, after = await store.page(after, 200)
            for record in records:
                _write(record, as_json=as_json)
            if after is None:
                return

    _with_tenants(write)
    return Exit.SUCCEEDED


@app.command()
def show(tenant: Name, as_json: AsJson = False) -> int:
    """Show one tenant."""
    _write(_with_tenants(lambda store: store.get(tenant)), as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def suspend(tenant: Name) -> int:
    """Let a tenant's keys open nothing and start nothing of it; what runs goes on to its end."""
    _write(_with_tenants(lambda store: store.suspend(tenant, by=_BY)), as_json=False)
    return Exit.SUCCEEDED


@app.command()
def resume(tenant: Name) -> int:
    """End a suspension; what is queued starts within seconds."""
    _write(_with_tenants(lambda store: store.resume(tenant, by=_BY)), as_json=False)
    return Exit.SUCCEEDED


@app.command()
def delete(
    tenant: Name,
    erase: Annotated[
        bool,
        typer.Option("--erase", help="Erase its payloads in the ledger's archive and Redis too."),
    ] = False,
    archive: Annotated[
        Path | None, typer.Option(help="Place of the archive (default: as for audit verify).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """
    Delete a suspended tenant for ever: its runs end, and all go that opens, allows or starts.

    Asked again with --erase it erases what a first time left; entries of the ledger stay.
    """
    if not yes:
        what = "all it has, its payloads too" if erase else "its keys, accounts and triggers"
        typer.confirm(f"Delete tenant {tenant}, with {what}, for ever?", abort=True)
    record = _with_redis(lambda redis: _delete(redis, tenant, again=erase))
    _write(record, as_json=False)
    if not erase:
        write_error(f"the archive keeps its payloads: moonsand tenants delete {tenant} --erase")
        return Exit.SUCCEEDED
    return _erase(tenant, archive)


async def _delete(redis: Redis, tenant: str, *, again: bool) -> TenantRecord:
    from tenancy.tenant_store import TenantStore
    from triggers.tenant_end import end_tenant

    store = TenantStore(redis)
    record = await store.get(tenant)
    if not (again and record.state == "deleted"):
        await store.check_deletable(tenant)
    await end_tenant(redis, tenant, by=_BY)
    return record if record.state == "deleted" else await store.delete(tenant, by=_BY)


def _erase(tenant: str, archive: Path | None) -> int:
    from core.settings import load_settings
    from ledger.erasing import Wish
    from moonsand import audit_inputs as inputs
    from moonsand import erasing
    from moonsand.commands.keys import redis_url

    settings = load_settings()
    opened = erasing.open_writer(inputs.archive_path(archive, settings), settings)
    told, complete = erasing.erase_payloads(Wish(tenant=tenant), opened, redis_url())
    write_output(f"{told}\n")
    return Exit.SUCCEEDED if complete else Exit.FAILED


def _write(record: TenantRecord, *, as_json: bool) -> None:
    if as_json:
        row = json.dumps({**record.model_dump(mode="json"), "state": record.state})
    else:
        row = _row(record)
    write_output(f"{row}\n")


def _row(record: TenantRecord) -> str:
    at_ms = record.deleted_ms or record.suspended_ms
    since = "" if at_ms is None else f" since {_time(at_ms)}"
    return f"{record.name}  {_time(record.created_ms)}  {record.state}{since}"


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _with_tenants(use: Callable[[TenantStore], Awaitable[T]]) -> T:
    async def ask(redis: Redis) -> T:
        from tenancy.tenant_store import TenantStore

        return await use(TenantStore(redis))

    return _with_redis(ask)


def _with_redis(use: Callable[[Redis], Awaitable[T]]) -> T:
    async def open_and_use() -> T:
        from core.redis_client import connect_async
        from moonsand.commands.keys import redis_url

        async with connect_async(redis_url()) as redis:
            return await use(redis)

    return asyncio.run(open_and_use())
