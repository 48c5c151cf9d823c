"""
Ceilings: the most that a tenant, or one of its keys, may ask for of a limit of a run.

What a client asks for by name is refused above the ceiling; a default above it is lowered to it.
The script that accepts runs looks once more, so that nothing passes that was made ready before a
ceiling was lowered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core import keys
from core.errors import Invalid
from runs.accept import Checked
from sandbox.limits import SPECS, Limits
from tenancy.terms import CEILING

if TYPE_CHECKING:
    from redis.asyncio import Redis

_FIELDS = [f"{CEILING}{name}" for name in SPECS]


async def ceilings_of(redis: Redis, tenant: str, key_id: str) -> dict[str, int]:
    """
    Give the ceilings that hold for runs of a key, by name of the limit; empty when there are none.

    Raises:
        RedisError: Redis did not answer.
    """
    pipe = redis.pipeline(transaction=False)
    pipe.hmget(keys.terms(tenant), _FIELDS)
    pipe.hmget(keys.key_terms(tenant, key_id), _FIELDS)
    rows: list[list[Any]] = await pipe.execute()
    both = ((name, one) for row in rows for name, one in zip(SPECS, row, strict=True))
    found: dict[str, int] = {}
    for name, value in both:
        if value is not None:
            found[name] = min(int(value), found.get(name, int(value)))
    return found


def bounded(checked: Checked, ceilings: Mapping[str, int]) -> Checked:
    """
    Give the request with defaults lowered to their ceilings.

    Raises:
        Invalid: it asks by name for more than a ceiling; with the pointer of the limit.
    """
    asked = {
        name: value for name, value in checked.limits.to_json().items() if name in checked.asked
    }
    check_ceilings(asked, ceilings)
    return replace(checked, limits=lowered(checked.limits, ceilings))


def check_ceilings(asked: Mapping[str, int], ceilings: Mapping[str, int]) -> None:
    """
    Refuse limits that are asked for above their ceilings.

    Raises:
        Invalid: with the pointer of the limit.
    """
    for name, value in asked.items():
        most = ceilings.get(name)
        if most is not None and value > most:
            raise Invalid(
                f"limit {name} must be at most {most} {SPECS[name].unit} here, not {value}:"
                " it is the ceiling of this tenant or key",
                pointer=f"/limits/{name}",
                hint="ask for less, or leave it out",
            )


def lowered(limits: Limits, ceilings: Mapping[str, int]) -> Limits:
    """Give limits none of which is above its ceiling."""
    return Limits(
        **{name: min(one, ceilings.get(name, one)) for name, one in limits.to_json().items()}
    )
