"""What both clients ask the HTTP API about quotas, and how they read its answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from moonsand.exchange import Ask


class QuotaUse(BaseModel):
    """
    One quota and what is used of it now.

    `whose` is `tenant`, or `key` for what the key that asks has alone. `allowed` is None where
    there is no bound. Of a rate, `span_s` are the seconds in which it counts, and after `reset_s`
    the first of what was counted is counted no more; both are None of what counts at one moment.
    """

    quota: str
    whose: str
    allowed: int | None
    used: int
    span_s: int | None
    reset_s: int | None


def quotas(tenant: str | None = None) -> Ask[list[QuotaUse]]:
    """Ask what may be used and is used; an operator's key names the `tenant` that it acts for."""
    headers = None if tenant is None else {"Moonsand-Tenant": tenant}
    return Ask("GET", "/v1/quotas", _read, headers=headers)


def _read(answered: Any) -> list[QuotaUse]:
    return [QuotaUse.model_validate(one) for one in answered["data"]]
