"""
`moonsand integrations configure`: an account and a policy of a person without a service.

The service has a vault and grants instead: `moonsand credentials`, `moonsand grants`.
"""

from __future__ import annotations

import json
import sys
import tomllib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moonsand.commands.run import AccountsFile, PacksDirectory
from moonsand.credential_values import MAX_BYTES, from_env, from_file, prompted, split_pairs
from moonsand.exits import Exit, UsageFault
from moonsand.local_accounts import default_accounts_file
from moonsand.local_policy import PERMISSIONS, LocalPolicy, Policy, policy_file
from moonsand.script_options import AsJson
from moonsand.terminal import safe, write_error, write_output
from moonsand.toml_sections import changed, locked, read_if_there, write_private

if TYPE_CHECKING:
    from integrations.catalog import Catalog
    from integrations.pack import Pack

_STDIN_KEYS = ("account", "set", "credentials", "unset", "enabled", "permissions")

IntegrationName = Annotated[str, typer.Argument(metavar="INTEGRATION", help="As `mux`.")]
Pairs = list[str] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be changed; None in a part of the policy leaves it as it is."""

    account: str
    values: dict[str, str]
    unset: list[str]
    enabled: bool | None
    permissions: dict[str, str]

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is to be changed."""
        policy = self.enabled is not None or self.permissions
        return not (self.values or self.unset or policy)


def configure(
    integration: IntegrationName,
    account: Annotated[str, typer.Option(help="Name of the account.")] = "default",
    set_: Annotated[Pairs, typer.Option("--set", help="FIELD=VALUE; repeatable.")] = None,
    env: Annotated[
        Pairs, typer.Option(help="FIELD=VARIABLE: take it from the environment; repeatable.")
    ] = None,
    file: Annotated[Pairs, typer.Option(help="FIELD=PATH: take it from a file.")] = None,
    unset: Annotated[Pairs, typer.Option(help="Forget a field; repeatable.")] = None,
    stdin_json: Annotated[
        bool, typer.Option("--stdin-json", help="Take what to change as JSON from stdin.")
    ] = False,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether scripts may use it at all.")
    ] = None,
    read: Annotated[str | None, typer.Option(help="allow, ask or deny what reads.")] = None,
    write: Annotated[str | None, typer.Option(help="allow, ask or deny what writes.")] = None,
    permissions: Annotated[
        str | None, typer.Option(help="Both at once, as `read:allow,write:ask`.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all; write nothing.")] = False,
    accounts: AccountsFile = None,
    packs: PacksDirectory = None,
    as_json: AsJson = False,
) -> int:
    """Keep an account and a read/write policy for what runs here, without a service."""
    from integrations.catalog import Catalog

    catalog = Catalog.load(operator=packs)
    pack = pack_named(catalog, integration)
    shown = split_pairs("--set", set_ or [])
    values = shown | {name: from_env(one) for name, one in split_pairs("--env", env or []).items()}
    values |= {name: from_file(one) for name, one in split_pairs("--file", file or []).items()}
    classes = _permissions(permissions) | {
        name: one for name, one in (("read", read), ("write", write)) if one is not None
    }
    wanted = Wanted(account, values, unset or [], enable, classes)
    if stdin_json:
        wanted = _with_stdin(wanted)
    if wanted.is_empty:
        if not sys.stdin.isatty():
            raise UsageFault("there is nothing to change: give --set, --env, --file, --read, "
                             "--write, --enable or --stdin-json")  # fmt: skip
        wanted = replace(wanted, values=prompted(pack))
    _check_permissions(wanted.permissions)
    _warn(pack, shown)
    target = (accounts or default_accounts_file()).expanduser()
    policy = _apply(catalog, pack, wanted, target, dry_run=dry_run)
    _report(pack, wanted, policy, dry_run=dry_run, as_json=as_json)
    return Exit.SUCCEEDED


def _report(pack: Pack, wanted: Wanted, policy: Policy, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        document = {
            "success": True,
            "provider": pack.name,
            "account": wanted.account,
            "credentials_set": sorted(wanted.values),
            "credentials_unset": wanted.unset,
            "enabled": policy.enabled,
            "permissions": {"read": policy.read, "write": policy.write},
            "dry_run": dry_run,
        }
        write_output(f"{json.dumps(document)}\n")
        return
    state = "enabled" if policy.enabled else "disabled"
    done = "would be configured" if dry_run else "configured"
    write_output(
        f"{pack.name}.{wanted.account} {done}: {state}, read {policy.read}, write {policy.write}\n"
    )


def _warn(pack: Pack, shown: dict[str, str]) -> None:
    secret = [
        name
        for name in shown
        for own, field in pack.credentials.items()
        if field.secret and name in {own, *field.aliases}
    ]
    if secret:
        write_error(
            f"note: --set shows {secret[0]} to everybody who can list processes here;"
            f" --env {secret[0]}=VARIABLE does not"
        )


def pack_named(catalog: Catalog, name: str) -> Pack:
    """
    Give the pack of an integration.

    Raises:
        UsageFault: there is none with this name.
    """
    from integrations.failure import did_you_mean

    known = [one.name for one in catalog.integrations.values() if one.pack]
    found = catalog.integrations.get(name)
    if found is None or found.pack is None:
        near = did_you_mean(name, known) or f" There are: {', '.join(known)}."
        raise UsageFault(f"there is no integration {safe(name)[:80]}.{near}")
    return found.pack


def _apply(catalog: Catalog, pack: Pack, wanted: Wanted, target: Path, *, dry_run: bool) -> Policy:
    """Change both files, or neither: all is checked before the first is written."""
    path, rules = target.resolve(), policy_file().resolve()
    policy = LocalPolicy.load(rules).of(pack.name)
    if wanted.enabled is not None:
        policy = replace(policy, enabled=wanted.enabled)
    policy = replace(
        policy,
        read=wanted.permissions.get("read", policy.read),
        write=wanted.permissions.get("write", policy.write),
    )
    touches_account = bool(wanted.values or wanted.unset)
    touches_policy = wanted.enabled is not None or bool(wanted.permissions)
    if dry_run:
        if touches_account:
            _accounts_text(catalog, pack, wanted, path)
        return policy
    try:
        if touches_account:
            with locked(path):
                write_private(path, _accounts_text(catalog, pack, wanted, path))
        if touches_policy:
            with locked(rules):
                text = changed(read_if_there(rules), (pack.name,), policy.to_values())
                write_private(rules, text)
    except OSError as error:
        raise UsageFault(f"cannot write {path.name}: {error.strerror}") from None
    return policy


def _accounts_text(catalog: Catalog, pack: Pack, wanted: Wanted, path: Path) -> str:
    """Give the accounts file as it shall be, checked as a whole by the reader of accounts."""
    from integrations.accounts import AccountsFile as Reader

    text = read_if_there(path)
    section: dict[str, Any] = {}
    with suppress(tomllib.TOMLDecodeError, AttributeError):  # `changed` says what is wrong
        section = dict(tomllib.loads(text).get(pack.name, {}).get(wanted.account, {}))
    owner = {alias: name for name, one in pack.credentials.items() for alias in one.aliases}
    values: dict[str, Any] = {owner.get(name, name): one for name, one in section.items()}
    values |= {owner.get(name, name): one for name, one in wanted.values.items()}
    for name in wanted.unset:
        if values.pop(owner.get(name, name), None) is None:
            raise UsageFault(f"{pack.name}.{safe(wanted.account)} has no {safe(name)[:80]}")
    _check_name(catalog, pack, wanted.account)
    made = changed(text, (pack.name, wanted.account), values)
    Reader.parse(made, catalog, name=path.name)
    return made


def _check_name(catalog: Catalog, pack: Pack, account: str) -> None:
    from integrations.account_fields import FieldWrong, check_account_name

    try:
        check_account_name(catalog.integrations[pack.name], account)
    except FieldWrong as wrong:
        # It is not repeated: somebody may have put a secret there.
        raise UsageFault(f"{pack.name}: {wrong}") from None


def _permissions(text: str | None) -> dict[str, str]:
    parts = [one.strip() for one in (text or "").split(",") if one.strip()]
    return {name: permission for name, _, permission in (one.partition(":") for one in parts)}


def _check_permissions(permissions: dict[str, str]) -> None:
    for name, permission in permissions.items():
        if name not in {"read", "write"} or permission not in PERMISSIONS:
            raise UsageFault("read and write can be allow, ask or deny")


def _with_stdin(wanted: Wanted) -> Wanted:
    try:
        given: Any = json.loads(sys.stdin.buffer.read(MAX_BYTES))
    except ValueError:
        given = None
    if not isinstance(given, dict) or not given.keys() <= set(_STDIN_KEYS):
        raise UsageFault(f"stdin must be a JSON object with some of: {', '.join(_STDIN_KEYS)}")
    values = {**_texts(given.get("credentials")), **_texts(given.get("set"))}
    unset, enabled = given.get("unset", []), given.get("enabled")
    account = given.get("account", wanted.account)
    if not (isinstance(account, str) and isinstance(unset, list)):
        raise UsageFault("stdin: account must be a text, unset a list")
    if not (enabled is None or isinstance(enabled, bool)):
        raise UsageFault("stdin: enabled must be true or false")
    return Wanted(
        account,
        {**values, **wanted.values},
        [*wanted.unset, *map(str, unset)],
        enabled if wanted.enabled is None else wanted.enabled,
        {**_texts(given.get("permissions")), **wanted.permissions},
    )


def _texts(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(one, str) for one in given.values()):
        raise UsageFault("stdin: set, credentials and permissions must be objects of texts")
    return {name: value.strip() for name, value in given.items()}
