"""
Accounts: named credentials, read from a TOML file.

```toml
[mux.default]                      # local runs, and the tenant `development`
token_id = "5d1f..."
token_secret = { env = "MUX_TOKEN_SECRET" }

[tenants.acme.mux.production]      # the tenant `acme`
token_id = "91ab..."
token_secret = { env = "ACME_MUX_TOKEN_SECRET" }
```
Every error names the key in the file, never a value.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from core.errors import Invalid, NotFound
from integrations.account_fields import FieldWrong, canonical, check_account_name, wrapped
from integrations.base_url import is_loopback_url
from integrations.catalog import Catalog
from integrations.failure import did_you_mean, printable
from integrations.function import Integration
from integrations.pack_wire import Host
from integrations.secret import Secret

DEVELOPMENT = "development"
_TENANT = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    The credentials of one account. Secret values are `Secret`; nothing here shows them.

    `by_operator` tells that the operator wrote them: then the vendor's address may be another than
    the pack's pattern allows, and may be on this machine itself.
    """

    integration: str
    account: str
    values: Mapping[str, str | Secret]
    by_operator: bool = False

    def reveal(self, field: str) -> str:
        """Give one value as text; call it only where the text goes onto the wire."""
        value = self.values[field]
        return value.reveal() if isinstance(value, Secret) else value

    def secrets(self) -> list[str]:
        """Give the text of every secret value, to search for."""
        return [value.reveal() for value in self.values.values() if isinstance(value, Secret)]

    def base_url(self, host: Host) -> str:
        """Give where requests go, without a slash at the end."""
        value = self.values.get(host.field) if host.field else None
        address = host.default if value is None else str(value)
        if address is None:
            raise ValueError(f"{self.integration} has no address without `{host.field}`")
        return address

    def is_local(self, host: Host) -> bool:
        """Tell whether the operator sends this account to this machine itself."""
        return self.by_operator and is_loopback_url(self.base_url(host))


#: An account: its integration and its name.
Place = tuple[str, str]


def names_among(places: Iterable[Place], integration: str) -> list[str]:
    """Give the names of an integration's accounts, `default` first."""
    names = [account for owner, account in places if owner == integration]
    return sorted(names, key=lambda name: (name != "default", name))


class Accounts:
    """The accounts of one tenant, by integration and name."""

    def __init__(self, accounts: Iterable[Credentials] = ()) -> None:
        self._accounts = {(one.integration, one.account): one for one in accounts}
        #: Which accounts there are.
        self.places: frozenset[Place] = frozenset(self._accounts)

    def names(self, integration: str) -> list[str]:
        """Give the names of an integration's accounts, `default` first."""
        return names_among(self.places, integration)

    def get(self, integration: str, account: str) -> Credentials:
        """
        Give one account.

        Raises:
            NotFound: the tenant has no such account.
        """
        found = self._accounts.get((integration, account))
        if found is None:
            names = self.names(integration)
            known = f"configured: {', '.join(names)}" if names else "none is configured"
            near = did_you_mean(account, names).strip() or None
            shown = printable(account, 64)
            raise NotFound(f"{integration} has no account `{shown}`; {known}", hint=near)
        return found


class AccountsFile:
    """All accounts of a file, checked; `for_tenant` gives those of one tenant."""

    def __init__(self, tenants: Mapping[str, Accounts]) -> None:
        self._tenants = tenants

    @classmethod
    def load(
        cls,
        path: Path | str,
        catalog: Catalog | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Self:
        """
        Read a file.

        Raises:
            Invalid: it can't be read, or something in it is wrong; the message names the key.
        """
        file = Path(path)
        try:
            with file.open("rb") as stream:
                raw = stream.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise Invalid(f"accounts file {file.name}: {error.strerror}") from None
        if len(raw) > MAX_FILE_BYTES:
            raise Invalid(f"accounts file {file.name}: more than {MAX_FILE_BYTES} bytes")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise Invalid(f"accounts file {file.name}: not UTF-8") from None
        return cls.parse(text, catalog or Catalog.load(), environ, name=file.name)

    @classmethod
    def parse(
        cls,
        text: str,
        catalog: Catalog,
        environ: Mapping[str, str] = os.environ,
        *,
        name: str = "accounts",
    ) -> Self:
        """
        Take accounts from TOML text; `name` is how errors call it.

        Raises:
            Invalid: something in it is wrong; the message names the key.
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            # The parser may quote what it saw, and that may be half a secret: keep the place only.
            place = re.search(r"at (line \d+, column \d+|end of document)", str(error))
            at = f" {place[0]}" if place else ""
            raise Invalid(f"accounts file {name}: not TOML{at}") from None
        reader = _Reader(name, catalog, environ)
        tenants = {DEVELOPMENT: reader.accounts(document, ("tenants",), ())}
        for tenant, section in reader.table(document.get("tenants", {}), ("tenants",)).items():
            where = ("tenants", tenant)
            if tenant == DEVELOPMENT or not _TENANT.fullmatch(tenant):
                raise reader.wrong(where, "not a tenant name; the accounts of the tenant"
                                   f" `{DEVELOPMENT}` stand at the top of the file")  # fmt: skip
            tenants[tenant] = reader.accounts(reader.table(section, where), (), where)
        return cls(tenants)

    def for_tenant(self, tenant: str | None) -> Accounts:
        """Give the accounts of a tenant; None is a local run, which has those of development."""
        return self._tenants.get(tenant or DEVELOPMENT) or Accounts()


@dataclass(frozen=True, slots=True)
class _Reader:
    file: str
    catalog: Catalog
    environ: Mapping[str, str]

    def wrong(self, where: tuple[str, ...], problem: str) -> Invalid:
        key = printable(".".join(where), 120)
        return Invalid(f"accounts file {self.file}: {key}: {problem}")

    def table(self, value: Any, where: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(where, "must be a table")
        return value

    def accounts(
        self, document: dict[str, Any], skip: tuple[str, ...], where: tuple[str, ...]
    ) -> Accounts:
        found = []
        for name, section in document.items():
            if name in skip:
                continue
            integration = self.catalog.integrations.get(name)
            if integration is None or integration.pack is None:
                packs = [one.name for one in self.catalog.integrations.values() if one.pack]
                near = did_you_mean(name, packs)
                raise self.wrong((*where, name), f"not an integration with accounts.{near}")
            for account, fields in self.table(section, (*where, name)).items():
                place = (*where, name, account)
                values = self._values(integration, account, self.table(fields, place), place)
                found.append(Credentials(name, account, values, by_operator=True))
        return Accounts(found)

    def _values(
        self, integration: Integration, account: str, given: dict[str, Any], where: tuple[str, ...]
    ) -> dict[str, str | Secret]:
        assert integration.pack is not None  # noqa: S101 (checked by the caller)
        pack = integration.pack
        try:
            check_account_name(integration, account)
            known = {*pack.credentials}
            known |= {alias for field in pack.credentials.values() for alias in field.aliases}
            # A variable is only read for a field that exists.
            texts = {
                key: self._text(value, (*where, key)) if key in known else "unknown"
                for key, value in given.items()
            }
            return wrapped(pack, canonical(pack, texts))
        except FieldWrong as wrong:
            place = where if wrong.field is None else (*where, wrong.field)
            raise self.wrong(place, str(wrong)) from None

    def _text(self, value: Any, where: tuple[str, ...]) -> str:
        if isinstance(value, dict):
            variable = value.get("env")
            if set(value) != {"env"} or not isinstance(variable, str):
                raise self.wrong(where, 'a table here must be { env = "NAME" }')
            text = self.environ.get(variable)
            if text is None:
                shown = printable(variable, 64)
                raise self.wrong(where, f"the environment variable {shown} is not set")
            return text.strip()
        if not isinstance(value, str):
            raise self.wrong(where, 'must be a string or { env = "NAME" }')
        return value.strip()
