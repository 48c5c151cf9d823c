"""`moonsand keys`: the API keys of tenants, straight in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from moonsand.exits import Exit
from moonsand.terminal import safe, write_error, write_output
from tenancy.scopes import DEFAULT_SCOPES, Scope

if TYPE_CHECKING:
    from tenancy.keys import KeyRecord, KeyStore

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")

Tenant = Annotated[str, typer.Option(help="Whose keys.")]


@app.command()
def create(
    tenant: Tenant = "development",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "moonsand keys create",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What the key may do; repeatable (default: runs:read, runs:write)."),
    ] = None,
) -> int:
    """Create a key and print it; it is shown this once."""
    scopes = scope or DEFAULT_SCOPES
    plain, record = _with_keys(lambda store: store.create(tenant, name, scopes=scopes))
    write_output(f"{plain}\n")
    may = ", ".join(record.scopes)
    write_error(f"{record.id} of tenant {record.tenant}, {may}; this text is not shown again")
    return Exit.SUCCEEDED


@app.command("list")
def list_keys(tenant: Tenant = "development") -> int:
    """List a tenant's keys, oldest first."""
    for record in _with_keys(lambda store: store.all(tenant)):
        write_output(f"{_row(record)}\n")
    return Exit.SUCCEEDED


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Id of a key, `key_...`.")],
    tenant: Tenant = "development",
) -> int:
    """End a key at once."""
    record = _with_keys(lambda store: store.revoke(tenant, key_id))
    write_output(f"{record.id} revoked\n")
    return Exit.SUCCEEDED


def _row(record: KeyRecord) -> str:
    when = datetime.fromtimestamp(record.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{record.id}  {when}  ...{record.last4}  {safe(record.name)}  {','.join(record.scopes)}"


def _with_keys(use: Callable[[KeyStore], Awaitable[T]]) -> T:
    async def open_and_use() -> T:
        from core.redis_client import connect_async
        from tenancy.keys import KeyStore

        async with connect_async(redis_url()) as redis:
            return await use(KeyStore(redis))

    return asyncio.run(open_and_use())


def redis_url() -> str:
    """Give REDIS_URL, else the Redis of the local service."""
    from core.errors import Unavailable
    from core.settings import load_settings
    from moonsand.local_state import LocalState, default_directory

    url = load_settings().redis_url
    if url is not None:
        return url
    local = LocalState.load(default_directory())
    if local is None:
        raise Unavailable("no Redis was named", hint="set REDIS_URL, or start `moonsand serve`")
    return local.redis_url
