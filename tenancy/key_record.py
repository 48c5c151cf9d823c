"""
What is kept of an API key, and what one key may give to another.

Nobody gives more than they have: a key that is made, changed or rotated over HTTP has no scope
that its giver lacks and no longer life, and is held to the grants and terms of its giver.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.errors import Forbidden, Invalid
from tenancy.scopes import DEFAULT_SCOPES, Scope
from tenancy.tenants import OPERATOR

MAX_NAME_CHARS = 80
#: The last millisecond of the year 9999: what lists can show.
MAX_EXPIRES_MS = 253_402_300_799_999
#: What a secret that was replaced no longer does in its grace period.
_ADMINISTERING = {Scope.GRANTS_ADMIN, Scope.KEYS_ADMIN, Scope.TENANTS_ADMIN}


class KeyRecord(BaseModel):
    """
    What is kept of a key. Times are Unix milliseconds.

    `expires_ms` is None for a key that does not expire. `previous` is the digest of the secret that
    the last rotation replaced, and opens until `previous_ends_ms`. `by` is the id of the key that
    made it, or `cli`. Of an operator's key that acts for a tenant, `tenant` is that tenant and
    `home` the operator's. `replaced` tells that the text shown was replaced by a rotation.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    tenant: str
    name: str
    scopes: tuple[Scope, ...] = DEFAULT_SCOPES
    last4: str
    created_ms: int
    digest: str
    expires_ms: int | None = None
    by: str = "cli"
    previous: str | None = None
    previous_ends_ms: int | None = None
    home: str | None = Field(default=None, exclude=True)
    replaced: bool = Field(default=False, exclude=True)

    @field_validator("scopes", mode="before")
    @classmethod
    def _only_known(cls, given: Any) -> Any:
        # A later version may have given a scope that this one does not know: it opens nothing
        # here, and the others still do.
        known = {scope.value for scope in Scope}
        return [one for one in given if one in known] if isinstance(given, list) else given

    @property
    def owner(self) -> str:
        """Give the tenant that the key is kept under, whomever it acts for."""
        return self.home or self.tenant

    @property
    def is_operators(self) -> bool:
        """Tell whether the key may administer all tenants."""
        return self.owner == OPERATOR and Scope.TENANTS_ADMIN in self.scopes

    def acting_for(self, tenant: str) -> Self:
        """Give the same key as one of another tenant, if it is an operator's."""
        return self.model_copy(update={"tenant": tenant, "home": self.owner})

    def as_replaced(self) -> Self:
        """Give what its old secret still opens after a rotation: nothing that administers."""
        left = tuple(scope for scope in self.scopes if scope not in _ADMINISTERING)
        return self.model_copy(update={"scopes": left, "replaced": True})

    def require(self, scope: Scope) -> None:
        """
        Refuse what this key may not do.

        Raises:
            Forbidden: the key lacks `scope`.
        """
        if scope in self.scopes:
            return
        if self.replaced and scope in _ADMINISTERING:
            raise Forbidden(
                "this text of the API key was replaced by a rotation, and administers nothing",
                hint="use the text that the rotation gave",
            )
        tenant = OPERATOR if scope is Scope.TENANTS_ADMIN else self.owner
        raise Forbidden(
            f"this API key lacks the scope {scope}; it has {', '.join(self.scopes) or 'none'}",
            hint=f"make a key that has it: moonsand keys create --tenant {tenant} --scope {scope}",
        )

    def unfit_for(self, tenant: str, scopes: Iterable[Scope], now_ms: int) -> str | None:
        """
        Say why this key, as it is kept, may no longer do what it was asked for earlier.

        For what goes on by itself after a key set it up: `scopes` are those that it takes, `tenant`
        is the one that it happens in. None: it may.
        """
        if self.expires_ms is not None and self.expires_ms <= now_ms:
            return f"the key {self.id} has expired"
        missing = [scope for scope in scopes if scope not in self.scopes]
        if missing:
            return f"the key {self.id} lacks the scope {missing[0]}"
        if self.owner != tenant and not self.is_operators:
            return f"the key {self.id} is no operator's any more"
        return None

    def check_giving(self, scopes: Iterable[Scope], expires_ms: int | None) -> None:
        """
        Refuse to give what this key does not have.

        Raises:
            Forbidden: a scope that it lacks, or a life longer than its own.
        """
        more = [scope for scope in dict.fromkeys(scopes) if scope not in self.scopes]
        if more:
            raise Forbidden(
                f"this API key lacks {', '.join(more)}: nobody gives more than they have",
                hint=f"it can give {', '.join(self.scopes)}",
            )
        longer = expires_ms is None or expires_ms > (self.expires_ms or MAX_EXPIRES_MS)
        if self.expires_ms is not None and longer:
            raise Forbidden(
                "this API key expires, and a key that it gives cannot last longer than itself",
                hint=f"choose an expiry until {self.expires_ms} (Unix milliseconds)",
            )


def check_name(name: str) -> str:
    """
    Give `name` back if a key may have it.

    Raises:
        Invalid: it is empty, too long or not printable.
    """
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise Invalid(
            f"a key's name must be 1 to {MAX_NAME_CHARS} printable characters", pointer="/name"
        )
    return name


def check_scopes(tenant: str, scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """
    Give scopes back, each once, if a key of `tenant` may have them.

    Raises:
        Invalid: a tenant's key cannot administer tenants.
    """
    once = tuple(dict.fromkeys(scopes))
    if Scope.TENANTS_ADMIN in once and tenant != OPERATOR:
        raise Invalid(
            f"{Scope.TENANTS_ADMIN} is a scope of the operator's keys only, "
            f"those of the tenant {OPERATOR}",
            pointer="/scopes",
        )
    return once


def check_expiry(expires_ms: int | None, now_ms: int) -> None:
    """
    Refuse a key that would never open, or of which nobody could write the end.

    Raises:
        Invalid: `expires_ms` is not after `now_ms`, or beyond the year 9999.
    """
    if expires_ms is not None and not now_ms < expires_ms <= MAX_EXPIRES_MS:
        raise Invalid(
            "the expiry must be in the future, until the year 9999", pointer="/expires_ms"
        )
