"""What Redis says of a run that it accepts or refuses, and the words for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import Broken, Conflict, Forbidden, QuotaExceeded, Unavailable
from runs.redis_scripts import load

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Seconds in which a rate counts.
SPANS_S = {
    "runs_per_minute": 60,
    "runs_per_day": 86_400,
    "instructions_per_minute": 60,
    "instructions_per_day": 86_400,
}
_HINTS = {
    "queued_runs": "wait until some have ended, or cancel some",
    "stored_bytes": "runs are kept for a time after their end; erase some, or wait",
}
_ASK_LESS = (
    "a run is counted with its limit until it has ended: ask for less in limits.instructions"
)
_NOT_APPLIED = {
    "not_approved": "the plan is not approved, or no longer kept; nothing was accepted",
    "applied": "the plan was applied already, and is applied once; nothing was accepted",
}
_UNITS = {"instructions": "instructions", "stored": "bytes"}


@dataclass(frozen=True, slots=True)
class RateState:
    """
    A quota of a rate after a run was counted in it.

    `whose` is `tenant` or `key`; `used` of `allowed` were counted in the last `span_s` seconds
    (60 or 86,400), and after `reset_s` the first of them are counted no more.
    """

    whose: str
    quota: str
    allowed: int
    used: int
    span_s: int
    reset_s: int

    @property
    def name(self) -> str:
        """The name under which clients are told of it."""
        return self.quota if self.whose == "tenant" else f"key_{self.quota}"

    @property
    def left(self) -> int:
        """What may still be used; a quota may have been lowered below its use."""
        return max(0, self.allowed - self.used)


async def quotas_of(redis: Redis, tenant: str, key_id: str, *, queue_max: int) -> list[RateState]:
    """
    Give all quotas of a tenant and one of its keys as they are now; nothing is counted.

    Of what counts at one moment `span_s` is 0, and `allowed` below 0 is no bound. `queue_max` is
    the deployment's default.

    Raises:
        RedisError: Redis did not answer.
    """
    rows = await load("quotas").run_async(redis, [tenant, key_id, queue_max])
    return [_state(row) for row in rows]


def _state(row: Sequence[Any]) -> RateState:
    return RateState(row[0].decode(), row[1].decode(), *map(int, row[2:6]))


def read_answer(answer: Sequence[Any]) -> tuple[RateState, ...] | None:
    """
    Read what `enqueue` says: the rates that the run was counted in, None when it was known.

    Raises:
        QuotaExceeded: a quota is used up.
        Forbidden: the tenant is suspended.
        Conflict: the plan to be applied is not approved, or was applied already.
        Unavailable: the ledger is too far behind.
    """
    word = answer[0].decode()
    if word == "accepted":
        return tuple(_state(row) for row in answer[1:])
    if word == "known":
        return None
    if word == "quota":
        raise exceeded(answer[1:])
    if word in _NOT_APPLIED:
        raise Conflict(_NOT_APPLIED[word], hint="`GET /v1/runs/{id}/plan` shows its state")
    if word == "suspended":
        raise Forbidden(
            "the tenant is suspended; nothing was accepted", hint="its operator can resume it"
        )
    if word in {"ceiling", "grants"}:
        raise Unavailable("the ceilings or grants of this tenant are being changed; try again")
    if word == "behind":
        raise Unavailable(
            f"{int(answer[1])} entries wait for the ledger's sequencer already;"
            " nothing was accepted",
            hint="is `moonsand sequencer` running? try again when it has caught up",
        )
    raise Broken(f"`enqueue` says {word}")


def exceeded(said: Sequence[Any]) -> QuotaExceeded:
    """Make the refusal of what a script says: whose, quota, allowed, used, asked, wait in s."""
    whose, quota = said[0].decode(), said[1].decode()
    allowed, used, asked, wait_s = (int(one) for one in said[2:6])
    unit = _UNITS.get(quota.partition("_")[0], "runs")
    detail = f"the quota {quota} of this {whose} is used up: {used:,} of {allowed:,} {unit}"
    if quota == "queued_runs":
        detail += f"; {used} runs are queued or wait already"
    if unit != "runs":
        detail += f", and this run asks for {asked:,}"
    hint = _HINTS.get(quota, f"ask again in {wait_s} s")
    if unit == "instructions":
        hint = _ASK_LESS if asked > allowed else f"{_ASK_LESS}; or ask again in {wait_s} s"
    elif asked > allowed:
        hint = "this run is larger than the whole quota"
    return QuotaExceeded(
        f"{detail}; nothing was accepted",
        retry_after_s=wait_s,
        hint=hint,
        quota=quota,
        whose=whose,
        used=used,
        allowed=allowed,
    )
