"""What is kept of a tenant; its name stays taken when it is deleted."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from core import keys
from core.errors import Broken, Conflict, NotFound

#: Tenants that one service may have, those that were deleted included.
MAX_TENANTS = 100_000


class TenantRecord(BaseModel):
    """
    One tenant. Times are Unix milliseconds.

    `suspended_ms` is since when its keys open nothing and nothing of it is started, None when it is
    not suspended; it stands with the terms, where the scripts that start runs look.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    created_ms: int
    deleted_ms: int | None = None
    suspended_ms: int | None = None

    @classmethod
    def read(
        cls, name: str, text: bytes | None, suspended: bytes | None = None
    ) -> TenantRecord | None:
        """
        Read a tenant as it is kept; None if there is none.

        Raises:
            Broken: what is kept is no tenant's record.
        """
        if text is None:
            return None
        try:
            fields = orjson.loads(text)
            since = None if suspended is None else int(suspended)
            return cls(**{**fields, "name": name, "suspended_ms": since})
        except (ValueError, TypeError):
            raise Broken(f"the record of tenant {name} cannot be read") from None

    @property
    def state(self) -> str:
        """Give `active`, `suspended` or `deleted`."""
        if self.deleted_ms is not None:
            return "deleted"
        return "active" if self.suspended_ms is None else "suspended"

    def check_not_deleted(self) -> None:
        """
        Refuse to change what was deleted.

        Raises:
            Conflict: the tenant was deleted.
        """
        if self.deleted_ms is not None:
            raise Conflict(
                f"tenant {self.name} was deleted, and its name is not given again",
                hint="choose another name: the ledger tells of the old one for ever",
            )

    def keep(self, pipe: Any) -> None:
        """Put the record into a MULTI."""
        fields = {"created_ms": self.created_ms}
        if self.deleted_ms is not None:
            fields["deleted_ms"] = self.deleted_ms
        pipe.hset(keys.TENANTS, self.name, orjson.dumps(fields))
        pipe.zadd(keys.TENANT_NAMES, {self.name: 0})


async def check_room(pipe: Any) -> None:
    """
    Refuse one more tenant, if there are `MAX_TENANTS`.

    Raises:
        Conflict: there are.
    """
    if await pipe.hlen(keys.TENANTS) >= MAX_TENANTS:
        raise Conflict(f"there are {MAX_TENANTS} tenants, which is all that is allowed")


def no_such_tenant(name: str) -> NotFound:
    """Make the one answer to every name that is no tenant's."""
    return NotFound(
        f"there is no tenant {name}", hint="`moonsand tenants create` and POST /v1/tenants make one"
    )
