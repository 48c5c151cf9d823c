"""`moonsand grants`: what tenants and their keys may call, straight in Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from moonsand import script_options as options
from moonsand.commands.keys import redis_url
from moonsand.commands.run import PacksDirectory
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_error, write_output

if TYPE_CHECKING:
    from integrations.catalog import Catalog
    from tenancy.grant_store import GrantStore
    from tenancy.grants import GrantSet, Whose

T = TypeVar("T")
BY = "cli"

app = typer.Typer(no_args_is_help=True, help="Say what tenants and their keys may call.")

Tenant = Annotated[str, typer.Option(help="Whose grants.")]
Key = Annotated[
    str | None, typer.Option(help="Id of one of its keys, `key_...`: the grants of that key.")
]


@app.command("list")
def list_grants(
    tenant: Tenant = "development",
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """List the grants of a tenant and of its keys; what is not listed has none and no limit."""
    own, of_keys = _with_grants(lambda store: store.all(tenant))
    sets = {} if own is None else {tenant: own}
    sets |= of_keys
    if key is not None:
        sets = {name: rules for name, rules in sets.items() if name == key}
    if as_json:
        shown = {name: rules.to_json() for name, rules in sets.items()}
        write_output(f"{json.dumps(shown, ensure_ascii=False)}\n")
        return Exit.SUCCEEDED
    for name, rules in sets.items():
        for rule in rules.to_json() or ["(nothing may be called)"]:
            text = rule if isinstance(rule, str) else json.dumps(rule)
            write_output(f"{safe(name)}  {safe(text)}\n")
    if tenant not in sets and key is None:
        write_error(f"tenant {tenant} has no grants of its own: every function is allowed")
    return Exit.SUCCEEDED


@app.command("set")
def set_grants(
    rule: Annotated[
        list[str] | None,
        typer.Argument(help="Grants such as `mux:read`, `ask:mux:write` or a JSON object."),
    ] = None,
    tenant: Tenant = "development",
    key: Key = None,
    file: Annotated[
        Path | None, typer.Option(help="JSON file with a list of grants, beside those named.")
    ] = None,
    nothing: Annotated[
        bool, typer.Option("--nothing", help="Keep an empty list: nothing may be called.")
    ] = False,
    packs: PacksDirectory = None,
) -> int:
    """Replace the grants of a tenant or a key; they hold for runs accepted from now on."""
    from integrations.grant_names import check_names
    from tenancy.grants import GrantSet

    named = [_rule(one) for one in rule or []]
    options.check_rules(named, "RULE")
    given = [*(options.read_rules(file) if file else []), *named]
    if bool(given) is nothing:
        raise UsageFault("name some grants, or give --nothing to allow nothing")
    rules = check_names(GrantSet.parse(given), _catalog(packs))

    async def keep(store: GrantStore) -> None:
        await _check_key(tenant, key)
        await store.set(tenant, key, rules, by=BY)

    _with_grants(keep)
    count = len(rules.rules)
    write_output(f"{_name(tenant, key)} has {count} grant{'s' * (count != 1)}\n")
    return Exit.SUCCEEDED


@app.command()
def remove(tenant: Tenant = "development", key: Key = None) -> int:
    """Forget the grants of a tenant or a key: they no longer limit anything."""
    _with_grants(lambda store: store.remove(tenant, key, by=BY))
    write_output(f"{_name(tenant, key)} has no grants of its own any more: nothing limits it\n")
    return Exit.SUCCEEDED


@app.command()
def check(
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="As `mux.create_asset`.")],
    tenant: Tenant = "development",
    key: Key = None,
    account: Annotated[str, typer.Option(help="With this account.")] = "default",
    arguments: Annotated[
        str | None, typer.Option(help="With these arguments, a JSON object.")
    ] = None,
    grant: options.Grant = None,
    grants: options.GrantsFile = None,
    force: options.Force = False,
    packs: PacksDirectory = None,
) -> int:
    """Say whether a run accepted now could make a call: `allow` (exit code 0), `ask` or `deny`."""
    from integrations.failure import CallFailed
    from integrations.grant_trial import try_call
    from tenancy.grants import Grants, GrantSet, Whose

    catalog = _catalog(packs)
    sets: Mapping[Whose, GrantSet] = _with_grants(lambda store: store.ceiling(tenant, key or "-"))
    asked = options.GrantOptions(grant, grants, force).rules()
    lease = {} if asked is None else {Whose.RUN: GrantSet.parse(asked)}
    given = None if arguments is None else options.read_json(arguments.encode(), "--arguments")
    whole = Grants(tuple({**sets, **lease}.items()), force)
    try:
        permission, why = try_call(catalog, whole, function, account, given)
    except CallFailed as wrong:
        raise UsageFault(wrong.message) from None
    write_output(f"{permission}\n")
    if why:
        write_error(safe(why))
    return Exit.SUCCEEDED if permission == "allow" else Exit.FAILED


def _rule(text: str) -> Any:
    return options.read_json(text.encode(), "grant") if text.startswith("{") else text


def _name(tenant: str, key: str | None) -> str:
    return f"tenant {tenant}" if key is None else f"key {safe(key)}"


def _catalog(packs: Path | None) -> Catalog:
    from integrations.catalog import Catalog

    return Catalog.load(operator=packs)


async def _check_key(tenant: str, key_id: str | None) -> None:
    from core.errors import NotFound
    from core.redis_client import connect_async
    from tenancy.keys import KeyStore

    if key_id is None:
        return
    async with connect_async(redis_url()) as redis:
        if all(one.id != key_id for one in await KeyStore(redis).all(tenant)):
            raise NotFound(f"tenant {tenant} has no key {key_id[:60]!a}")


def _with_grants(use: Callable[[GrantStore], Awaitable[T]]) -> T:
    async def open_and_use() -> T:
        from core.redis_client import connect_async
        from tenancy.grant_store import GrantStore

        async with connect_async(redis_url()) as redis:
            return await use(GrantStore(redis))

    return asyncio.run(open_and_use())
