"""`moonsand credentials`: the vault of accounts, straight in Redis. No value is an option."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from moonsand.commands.keys import redis_url
from moonsand.credential_values import MAX_BYTES, from_env, from_file, prompted
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_error, write_output

if TYPE_CHECKING:
    from integrations.catalog import Catalog
    from integrations.pack import Pack
    from runs.model import RunRequest
    from runs.store import RunStore
    from tenancy.vault import Vault
    from tenancy.vault_records import Kept

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Keep vendor accounts in the credential vault.")

Tenant = Annotated[str, typer.Option(help="Whose account.")]
IntegrationName = Annotated[str, typer.Argument(metavar="INTEGRATION", help="As `mux`.")]
AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name of the account.")]


@app.command("set")
def set_account(
    integration: IntegrationName,
    account: AccountName = "default",
    tenant: Tenant = "development",
    env: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=VARIABLE: take a field from the environment; repeatable."),
    ] = None,
    file: Annotated[
        list[str] | None, typer.Option(help="FIELD=PATH: take a field from a file; repeatable.")
    ] = None,
) -> int:
    """Keep an account: fields from the environment, files, a prompt, or a JSON object on stdin."""
    from integrations.account_fields import FieldWrong, canonical, check_account_name

    catalog = _catalog()
    pack = _pack(catalog, integration)
    given = _given(pack, env or [], file or [])
    try:
        check_account_name(catalog.integrations[integration], account)
        values = canonical(pack, given)
    except FieldWrong as wrong:
        # What is no account's name is not repeated: somebody may have put a secret there.
        place = f"{integration}.{account}.{wrong.field}" if wrong.field else integration
        raise UsageFault(f"{safe(place)}: {wrong}") from None
    kept = _with_vault(lambda vault: vault.set(tenant, integration, account, values))
    write_output(f"{_row(kept)}\n")
    return Exit.SUCCEEDED


@app.command("list")
def list_accounts(tenant: Tenant = "development") -> int:
    """List a tenant's accounts: name, version, time (UTC) and the fields that are set."""
    for kept in _with_vault(lambda vault: vault.accounts(tenant)):
        write_output(f"{_row(kept)}\n")
    return Exit.SUCCEEDED


@app.command()
def delete(
    integration: IntegrationName, account: AccountName, tenant: Tenant = "development"
) -> int:
    """Forget an account; it counts from the next run on."""
    _with_vault(lambda vault: vault.delete(tenant, integration, account))
    write_output(f"{safe(integration)}.{safe(account)} deleted\n")
    return Exit.SUCCEEDED


@app.command()
def erase(tenant: Annotated[str, typer.Option(help="Whose accounts.")]) -> int:
    """Destroy a tenant's data key: none of its accounts can be opened again."""
    if _with_vault(lambda vault: vault.erase(tenant)):
        write_output(f"accounts of tenant {tenant} erased\n")
        return Exit.SUCCEEDED
    write_error(f"tenant {tenant} has no accounts in the vault")
    return Exit.FAILED


@app.command()
def rotate(
    tenant: Annotated[
        str | None, typer.Option(help="Give this tenant a new data key instead.")
    ] = None,
) -> int:
    """Wrap every data key with the current master key; old ones may be removed afterwards."""
    if tenant is not None:
        sealed = _with_vault(lambda vault: vault.rekey(tenant))
        write_output(f"new data key of tenant {tenant}; {sealed} accounts sealed anew\n")
        return Exit.SUCCEEDED
    changed, count = _with_vault(lambda vault: vault.rotate())
    write_output(f"{changed} of {count} data keys wrapped anew\n")
    return Exit.SUCCEEDED


@app.command("keygen")
def master_key(
    name: Annotated[str, typer.Argument(metavar="ID", help="Id of the new key, as `2027-01`.")],
) -> int:
    """Print a new master key, a line for the file of MOONSAND_VAULT_KEYS_FILE."""
    from tenancy.master_keys import new_line

    write_output(f"{new_line(name)}\n")
    return Exit.SUCCEEDED


@app.command("sealing-key")
def sealing_key() -> int:
    """Print the public half of the current master key, for MOONSAND_VAULT_SEALING_KEY."""
    from core.settings import load_settings
    from tenancy.master_keys import MasterKeys
    from tenancy.sealing_key import SealingKey

    masters = MasterKeys.of_settings(load_settings())
    if masters is None:
        raise UsageFault("no master key is given; set MOONSAND_VAULT_KEYS_FILE")
    write_output(f"{SealingKey.of_masters(masters).line()}\n")
    return Exit.SUCCEEDED


@app.command("test")
def try_account(
    integration: IntegrationName,
    account: AccountName = "default",
    tenant: Tenant = "development",
) -> int:
    """Try an account with one reading call, as a run of the tenant; 1 if the call fails."""
    from runs.trial import trial_of

    result = asyncio.run(_tried(tenant, trial_of(_pack(_catalog(), integration), account)))
    write_output(json.dumps(result) + "\n")
    return Exit.SUCCEEDED if result.get("ok") else Exit.FAILED


async def _tried(tenant: str, request: RunRequest) -> dict[str, Any]:
    from core.redis_client import connect_async
    from runs.store import RunStore
    from runs.trial import verdict

    async with connect_async(redis_url()) as redis:
        store = RunStore(redis)
        record = await store.submit(tenant, request, key_id="cli")
        try:
            await asyncio.wait_for(_ended(store, tenant, record.id), 90)
        except TimeoutError:
            raise UsageFault(f"{record.id} has not ended; is a worker running?") from None
        return verdict(await store.get(tenant, record.id))


async def _ended(store: RunStore, tenant: str, run_id: str) -> None:
    async for _ in store.events(tenant, run_id):
        pass


def _catalog() -> Catalog:
    from core.settings import load_settings
    from integrations.catalog import Catalog

    return Catalog.load(operator=load_settings().packs_dir)


def _pack(catalog: Catalog, name: str) -> Pack:
    found = catalog.integrations.get(name)
    if found is None or found.pack is None:
        known = ", ".join(one.name for one in catalog.integrations.values() if one.pack)
        raise UsageFault(f"{safe(name)} is no integration with accounts; there are: {known}")
    return found.pack


def _given(pack: Pack, env: list[str], file: list[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for option, entry in [("--env", one) for one in env] + [("--file", one) for one in file]:
        field, equals, source = entry.partition("=")
        if not equals or field in values:
            # The text is not repeated: somebody may have put a secret there.
            raise UsageFault(f"{option} takes FIELD=NAME, each field once")
        values[field] = from_env(source) if option == "--env" else from_file(source)
    if values:
        return values
    if not sys.stdin.isatty():
        return _from_stdin()
    return prompted(pack)


def _from_stdin() -> dict[str, str]:
    try:
        found = json.loads(sys.stdin.buffer.read(MAX_BYTES))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise UsageFault("stdin must be one JSON object of texts, {field: value}") from None
    return {name: value.strip() for name, value in found.items()}


def _row(kept: Kept) -> str:
    when = datetime.fromtimestamp(kept.set_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    name = f"{safe(kept.integration)}.{safe(kept.account)}"
    return f"{name}  version {kept.version}  {when}  {', '.join(map(safe, kept.fields))}"


def _with_vault(use: Callable[[Vault], Awaitable[T]]) -> T:
    async def open_and_use() -> T:
        from core.redis_client import connect_async
        from core.settings import load_settings
        from tenancy.master_keys import MasterKeys
        from tenancy.vault import Vault

        masters = MasterKeys.of_settings(load_settings())
        async with connect_async(redis_url()) as redis:
            return await use(Vault(redis, masters))

    return asyncio.run(open_and_use())
