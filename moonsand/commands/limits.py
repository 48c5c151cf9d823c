"""`moonsand limits`: how much tenants and their keys may use, straight in Redis."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_error, write_output

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tenancy.terms import TermsStore

T = TypeVar("T")
_BY = "cli"
_NUMBER = re.compile(r"-?[0-9][0-9_]{0,19}")

app = typer.Typer(no_args_is_help=True, help="Say how much tenants and their keys may use.")

Tenant = Annotated[str, typer.Option(help="Whose limits.")]
Key = Annotated[
    str | None, typer.Option(help="Id of one of its keys, `key_...`: the limits of that key.")
]


@app.command()
def show(
    tenant: Tenant = "development",
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Show the limits that are set; what is not shown is the default, or has no limit."""
    kept = _with_redis(partial(_shown, tenant, key))
    if as_json:
        write_output(f"{json.dumps(kept)}\n")
        return Exit.SUCCEEDED
    _write(kept)
    if not kept:
        write_error(f"{_name(tenant, key)} has no limits of its own")
    return Exit.SUCCEEDED


@app.command("set")
def set_limits(
    limit: Annotated[
        list[str],
        typer.Argument(metavar="NAME=NUMBER", help="Such as `runs_per_minute=600`; repeatable."),
    ],
    tenant: Tenant = "development",
    key: Key = None,
) -> int:
    """Set limits of a tenant or a key; those not named stay. They hold from now on."""
    values: dict[str, int | None] = {}
    for one in limit:
        name, _, text = one.partition("=")
        if _NUMBER.fullmatch(text) is None or name in values:
            raise UsageFault(f"write each limit once as NAME=NUMBER, not {one[:60]!a}")
        values[name] = int(text)
    _write(_with_terms(lambda store: store.set(tenant, key, values, by=_BY)))
    return Exit.SUCCEEDED


@app.command()
def remove(
    name: Annotated[list[str], typer.Argument(help="Names of limits; repeatable.")],
    tenant: Tenant = "development",
    key: Key = None,
) -> int:
    """Take limits off a tenant or a key: the default holds again, or none."""
    wanted: dict[str, int | None] = dict.fromkeys(name)
    _write(_with_terms(lambda store: store.set(tenant, key, wanted, by=_BY)))
    return Exit.SUCCEEDED


@app.command()
def names() -> int:
    """List all limits with their ranges, units and meaning."""
    from sandbox.limits import SPECS
    from tenancy.terms import CALLS_PER_MINUTE, CEILING, TERMS, spec_of

    rows = {**TERMS, f"{CALLS_PER_MINUTE}<integration>": spec_of(f"{CALLS_PER_MINUTE}mux")}
    rows |= {name: spec_of(name) for name in (f"{CEILING}{one}" for one in SPECS)}
    for name, spec in rows.items():
        if spec is not None:
            meaning = spec.meaning.replace(" mux ", " one integration ")
            whose = "" if spec.of_keys else " (of tenants only)"
            write_output(f"{name}  {spec.minimum}..{spec.maximum} {spec.unit}  {meaning}{whose}\n")
    return Exit.SUCCEEDED


async def _shown(tenant: str, key: str | None, redis: Redis) -> dict[str, int]:
    from tenancy.keys import KeyStore
    from tenancy.tenant_store import TenantStore
    from tenancy.terms import TermsStore

    # A mistyped name would look like one without limits.
    await TenantStore(redis).get(tenant)
    if key is not None:
        await KeyStore(redis).get(tenant, key)
    return await TermsStore(redis).get(tenant, key)


def _write(kept: dict[str, int]) -> None:
    for name, value in kept.items():
        write_output(f"{name}={value}\n")


def _name(tenant: str, key: str | None) -> str:
    return f"tenant {safe(tenant)}" if key is None else f"key {safe(key)}"


def _with_terms(use: Callable[[TermsStore], Awaitable[T]]) -> T:
    async def with_store(redis: Redis) -> T:
        from tenancy.terms import TermsStore

        return await use(TermsStore(redis))

    return _with_redis(with_store)


def _with_redis(use: Callable[[Redis], Awaitable[T]]) -> T:
    async def open_and_use() -> T:
        from core.redis_client import connect_async
        from moonsand.commands.keys import redis_url

        async with connect_async(redis_url()) as redis:
            return await use(redis)

    return asyncio.run(open_and_use())
