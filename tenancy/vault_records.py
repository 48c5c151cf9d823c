"""What stands in a tenant's vault: an index, and one entry an account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tenancy.envelope import DataKey, Place, seal


class Writer(StrEnum):
    """Who wrote an account: the operator, on Redis itself, or the tenant, through the API."""

    OPERATOR = "operator"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Kept:
    """What may be shown of one account: never a value. `set_ms` is Unix milliseconds."""

    integration: str
    account: str
    version: int
    fields: tuple[str, ...]
    set_ms: int
    set_by: Writer


@dataclass(frozen=True, slots=True)
class Opened:
    """One account with its values; `version` is what stands in the index."""

    integration: str
    account: str
    version: int
    set_by: Writer
    values: Mapping[str, str] = field(repr=False)


@dataclass(slots=True)
class Index:
    """Which accounts a tenant has; `generation` counts its writes."""

    generation: int
    accounts: dict[str, dict[str, Any]]

    def kept(self) -> list[Kept]:
        """Give what may be shown, by name."""
        return [kept_of(name, one) for name, one in sorted(self.accounts.items())]

    def sealed(self, key: DataKey) -> bytes:
        """Seal it for its tenant and this key."""
        body = {"generation": self.generation, "accounts": self.accounts}
        return seal(key.key, body, ("index", key.tenant, key.id))


def place_of(tenant: str, one: Kept | Opened) -> Place:
    """Give what an account's entry is sealed for."""
    return ("account", tenant, one.integration, one.account, one.version, one.set_by)


def kept_of(name: str, one: Mapping[str, Any]) -> Kept:
    """Read one entry of the index."""
    integration, _, account = name.partition(".")
    fields, by = tuple(one["fields"]), Writer(one["by"])
    return Kept(integration, account, one["version"], fields, one["set_ms"], by)
