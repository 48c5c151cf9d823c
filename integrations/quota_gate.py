"""
Quotas of requests to one integration, for calls that pass no rate of an account: those of MCP.

Runs in: worker. Trusts: the throttle. Refuses: a request beyond the quota of its tenant or key,
and any while that cannot be told. May import: integrations.
"""

from __future__ import annotations

from dataclasses import dataclass

from integrations.failure import NOT_SENT, CallFailed
from integrations.throttle import Gate, QuotaUsedUp, Throttle

#: The code of the error that a script gets.
QUOTA_EXCEEDED = "quota_exceeded"


def used_up_text(used_up: QuotaUsedUp) -> str:
    """Say which quota is used up, and how much of it."""
    return (
        f"the quota {used_up.quota} of this {used_up.whose} is used up:"
        f" {used_up.used} of {used_up.allowed} requests in a minute"
    )


@dataclass(frozen=True, slots=True)
class QuotaGate:
    """What one call has to pass before anything of it is sent."""

    throttle: Throttle
    gate: Gate

    async def enter(self, full_name: str) -> None:
        """
        Count the call.

        Raises:
            CallFailed: a quota is used up; nothing was sent.
            ThrottleUnavailable: nobody can tell; nothing was sent.
        """
        try:
            await self.throttle.enter(self.gate)
        except QuotaUsedUp as used_up:
            raise CallFailed(
                QUOTA_EXCEEDED,
                f"{full_name}: {used_up_text(used_up)}; {NOT_SENT}",
                retry_after_s=used_up.wait_s,
                retriable=True,
            ) from None
