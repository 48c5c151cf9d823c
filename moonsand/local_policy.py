"""
What calls made here may do: `policy.toml`, written by `moonsand integrations configure`.

An integration may be disabled; reading and writing are allowed, asked about or denied. What the
file does not name is allowed: a person's own accounts are used as they were given. A service
does not read it; there, grants decide.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from core.errors import Invalid
from moonsand.local_accounts import configuration_directory

if TYPE_CHECKING:
    from tenancy.grants import Grants

PERMISSIONS = ("allow", "ask", "deny")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be done with one integration."""

    enabled: bool = True
    read: str = "allow"
    write: str = "allow"

    def to_values(self) -> dict[str, str | bool]:
        """Give the fields as the file has them."""
        return asdict(self)

    def rules(self, name: str, *, force: bool) -> list[str]:
        """Give the grant rules that say so; `force` leaves out those about reading and writing."""
        if not self.enabled:
            return [f"deny:{name}"]
        classes = {} if force else {"read": self.read, "write": self.write}
        return [
            f"{permission}:{name}:{one}" for one, permission in classes.items()
            if permission != "allow"
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """The policies of all integrations that the file names."""

    policies: Mapping[str, Policy] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """
        Read the file; one that is not there says nothing.

        Raises:
            Invalid: something in it is wrong. Nothing may be called then.
        """
        file = path or policy_file()
        try:
            text = file.read_text("utf-8")
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError):
            raise Invalid(f"policy file {file.name}: it cannot be read") from None
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise Invalid(f"policy file {file.name}: not TOML: {error}") from None
        return cls({name: _policy(file.name, name, one) for name, one in document.items()})

    def of(self, integration: str) -> Policy:
        """Give the policy of one integration."""
        return self.policies.get(integration, Policy())

    def grants(self, asked: list[Any] | None = None, *, force: bool = False) -> Grants:
        """
        Give what a run here may call: what it asks for, but not more than the policy allows.

        Raises:
            Invalid: what it asks for are no grants.
        """
        from tenancy.grants import Grants, GrantSet, Whose  # noqa: PLC0415 (heavy)

        own = [rule for name, one in self.policies.items() for rule in one.rules(name, force=force)]
        sets = []
        if own or force:
            sets.append((Whose.TENANT, GrantSet.parse(["*", *own])))
        if asked is not None:
            sets.append((Whose.RUN, GrantSet.parse(asked)))
        return Grants(tuple(sets), force)


def policy_file() -> Path:
    """Give where the policy is kept."""
    return configuration_directory() / "policy.toml"


def _policy(file: str, name: str, given: Any) -> Policy:
    place = f"policy file {file}: {ascii(name)[:80]}"
    if not _NAME.fullmatch(name) or not isinstance(given, dict):
        raise Invalid(f"{place}: must be a section [integration]")
    if odd := [one for one in given if one not in {"enabled", "read", "write"}]:
        raise Invalid(f"{place}: {ascii(odd[0])[:80]} is none of enabled, read, write")
    policy = Policy(**given)
    if not isinstance(policy.enabled, bool):
        raise Invalid(f"{place}: enabled must be true or false")
    for one in (policy.read, policy.write):
        if one not in PERMISSIONS:
            raise Invalid(f"{place}: read and write must be allow, ask or deny")
    return policy
