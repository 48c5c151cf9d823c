"""`moonsand keys`: the API keys of tenants, straight in Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from moonsand.durations import seconds_of
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_error, write_output
from tenancy.scopes import DEFAULT_SCOPES, Role, Scope

if TYPE_CHECKING:
    from tenancy.keys import KeyRecord, KeyStore

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Create, list, change, rotate and revoke API keys.")

Tenant = Annotated[
    str, typer.Option(help="Whose keys; `operator` for those of who runs the service.")
]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Id of a key, `key_...`.")]
Scopes = Annotated[
    list[Scope] | None, typer.Option(help="What the key may do, beside its role; repeatable.")
]
RoleName = Annotated[Role | None, typer.Option(help="What the key may do: a named set of scopes.")]
ExpiresIn = Annotated[
    str | None, typer.Option(help="How long the key opens from now: `90d`, `12h`.")
]


@app.command()
def create(
    tenant: Tenant = "development",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "moonsand keys create",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What the key may do; repeatable (default: runs:read, runs:write)."),
    ] = None,
    role: RoleName = None,
    expires_in: ExpiresIn = None,
) -> int:
    """Create a key, and its tenant if there is none; print the key, which is shown this once."""
    scopes = _scopes(role, scope) or DEFAULT_SCOPES
    ends = _ends_ms(expires_in)
    plain, record = _with_keys(
        lambda store: store.create(tenant, name, scopes=scopes, expires_ms=ends)
    )
    write_output(f"{plain}\n")
    may = ", ".join(record.scopes)
    until = "" if ends is None else f", until {_time(ends)}"
    write_error(
        f"{record.id} of tenant {record.tenant}, {may}{until}; this text is not shown again"
    )
    return Exit.SUCCEEDED


@app.command("list")
def list_keys(
    tenant: Tenant = "development",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """List a tenant's keys, oldest first; those that have expired too."""

    async def ask(store: KeyStore) -> tuple[list[KeyRecord], dict[str, int]]:
        records = await store.all(tenant)
        return records, await store.last_uses(tenant, [record.id for record in records])

    records, used = _with_keys(ask)
    for record in records:
        at_ms = used.get(record.id)
        used_at = "never used" if at_ms is None else f"used {_time(at_ms)}"
        row = json.dumps(_facts(record, at_ms)) if as_json else f"{_row(record)}  {used_at}"
        write_output(f"{row}\n")
    return Exit.SUCCEEDED


@app.command()
def change(
    key_id: KeyId,
    tenant: Tenant = "development",
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    scope: Scopes = None,
    role: RoleName = None,
    expires_in: ExpiresIn = None,
    never_expires: Annotated[
        bool, typer.Option("--never-expires", help="Take the expiry off.")
    ] = False,
) -> int:
    """Give a key another name, other scopes or another expiry; its text stays."""
    from tenancy.key_changes import KeyChange

    if never_expires and expires_in is not None:
        raise UsageFault("give --expires-in or --never-expires, not both")
    ends = 0 if never_expires else _ends_ms(expires_in)
    wanted = KeyChange(name, _scopes(role, scope), ends)
    record = _with_keys(lambda store: store.change(tenant, key_id, wanted))
    write_output(f"{_row(record)}\n")
    return Exit.SUCCEEDED


@app.command()
def rotate(
    key_id: KeyId,
    grace: Annotated[
        str, typer.Option(help="How long the old text still opens: `24h`; `0s` after a leak.")
    ],
    tenant: Tenant = "development",
) -> int:
    """Give a key a new text and print it; id, scopes, grants and limits stay."""
    grace_s = seconds_of(grace, "--grace")
    plain, record = _with_keys(lambda store: store.rotate(tenant, key_id, grace_s=grace_s))
    write_output(f"{plain}\n")
    ends = record.previous_ends_ms
    old = "opens no more" if ends is None else f"opens until {_time(ends)} and administers nothing"
    write_error(f"{record.id} rotated; the old text {old}; the new one is not shown again")
    return Exit.SUCCEEDED


@app.command()
def revoke(key_id: KeyId, tenant: Tenant = "development") -> int:
    """End a key at once, with its grants and limits."""
    record = _with_keys(lambda store: store.revoke(tenant, key_id))
    write_output(f"{record.id} revoked\n")
    return Exit.SUCCEEDED


@app.command()
def roles() -> int:
    """List the roles, and the scopes that each stands for."""
    for role in Role:
        write_output(f"{role}  {','.join(role.scopes)}\n")
    return Exit.SUCCEEDED


def _row(record: KeyRecord) -> str:
    ends = "" if record.expires_ms is None else f"  until {_time(record.expires_ms)}"
    return (
        f"{record.id}  {_time(record.created_ms)}  ...{record.last4}  {safe(record.name)}  "
        f"{','.join(record.scopes)}{ends}"
    )


def _facts(record: KeyRecord, used_ms: int | None) -> dict[str, Any]:
    facts = record.model_dump(mode="json", exclude={"digest", "previous"})
    return facts | {"last_used_ms": used_ms}


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _scopes(role: Role | None, scopes: list[Scope] | None) -> tuple[Scope, ...] | None:
    together = (*(role.scopes if role else ()), *(scopes or ()))
    return together or None


def _ends_ms(expires_in: str | None) -> int | None:
    from core.clock import now_ms

    return None if expires_in is None else now_ms() + seconds_of(expires_in, "--expires-in") * 1000


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
