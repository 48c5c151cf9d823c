"""Whether integrations can be called from here: policy, accounts, addresses, and a real call."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from integrations.accounts import Accounts, Credentials
from integrations.catalog import Catalog
from integrations.direct_call import call_directly
from integrations.egress import is_public, is_this_machine, system_resolver
from integrations.failure import CallFailed
from integrations.pack import Pack
from moonsand.local_policy import LocalPolicy, Policy

_HTTPS = 443


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at, of one account: `credentials`, `host` or `auth`."""

    account: str
    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Examined:
    """One integration, looked at. `missing` are fields without which there is no account."""

    pack: Pack
    policy: Policy
    accounts: list[str]
    missing: list[str]
    checks: list[Check] = field(default_factory=list)

    @property
    def active(self) -> bool:
        """Tell whether scripts can call it."""
        return self.policy.enabled and bool(self.accounts)

    @property
    def well(self) -> bool:
        """Tell whether nothing that was looked at failed."""
        return all(check.ok for check in self.checks)

    def next_commands(self) -> list[str]:
        """Give what to do next, as commands."""
        name, commands = self.pack.name, []
        if self.missing:
            fields = " ".join(f"--env {one}=VARIABLE" for one in self.missing)
            commands.append(f"moonsand integrations:configure {name} {fields}")
        if not self.policy.enabled:
            commands.append(f"moonsand integrations:configure {name} --enable")
        if self.active:
            commands.append(f"moonsand integrations:docs {name}.{self.pack.functions[0].name}")
        return commands

    def to_json(self) -> dict[str, Any]:
        """Give the document of one integration."""
        return {
            "provider": self.pack.name,
            "title": self.pack.title,
            "enabled": self.policy.enabled,
            "configured": bool(self.accounts),
            "active": self.active,
            "ok": self.active and self.well,
            "missing_credentials": self.missing,
            "accounts": self.accounts,
            "permissions": {"read": self.policy.read, "write": self.policy.write},
            "function_count": len(self.pack.functions),
            "example_functions": [
                f"{self.pack.name}.{one.name}" for one in self.pack.functions[:5]
            ],
            "checks": [asdict(check) for check in self.checks],
            "next_commands": self.next_commands(),
        }


async def examine(
    catalog: Catalog, accounts: Accounts, policies: LocalPolicy, pack: Pack, *, call: bool
) -> Examined:
    """Look at one integration; with `call`, by one reading call of each account."""
    names = accounts.names(pack.name)
    required = [name for name, one in pack.credentials.items() if one.required]
    seen = Examined(pack, policies.of(pack.name), names, [] if names else required)
    for name in names:
        credentials = accounts.get(pack.name, name)
        seen.checks.append(Check(name, "credentials", True, "every required field is set"))
        host = await _host(pack, credentials)
        seen.checks.append(host)
        if call and host.ok:
            async for check in _auth(catalog, accounts, seen, name):
                seen.checks.append(check)
    return seen


async def _host(pack: Pack, credentials: Credentials) -> Check:
    parts = urlsplit(credentials.base_url(pack.host))
    host, port = parts.hostname or "", parts.port or _HTTPS
    allowed = is_this_machine if credentials.is_local(pack.host) else is_public
    try:
        found = [ipaddress.ip_address(one) for one in await system_resolver(host, port)]
    except (OSError, ValueError):
        return Check(credentials.account, "host", False, f"{host} does not resolve")
    if not found or not all(map(allowed, found)):
        where = (
            "is not on this machine" if allowed is is_this_machine else "is not a public address"
        )
        return Check(credentials.account, "host", False, f"{host} {where}")
    return Check(credentials.account, "host", True, f"{host} resolves")


async def _auth(
    catalog: Catalog, accounts: Accounts, seen: Examined, account: str
) -> AsyncIterator[Check]:
    """Try an account, if there is a function to try it by and the policy lets it."""
    probe = seen.pack.probe
    if probe is None or not seen.policy.enabled or seen.policy.read != "allow":
        return
    name = f"{seen.pack.name}.{probe.name}"
    try:
        await call_directly(catalog, accounts, name, account, {})
    except CallFailed as failure:
        yield Check(account, "auth", False, failure.message)
    else:
        yield Check(account, "auth", True, f"{name} answered")
