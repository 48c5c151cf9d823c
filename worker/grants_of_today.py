"""
The grants of a run that is executed again: those of its acceptance, and those of today.

Runs in: worker. Trusts: Redis. Refuses: what the tenant or the key may no longer call.
May import: tenancy, core, redis.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from core import keys
from core.errors import Unavailable
from tenancy.grant_store import GrantStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from runs.spec import RunSpec


async def with_grants_of_today(redis: Redis, spec: RunSpec) -> RunSpec:
    """
    Give the run with the rules of today beside those it was accepted with.

    A call has to be allowed by all of them: what was taken away since is not sent any more, and
    what was given since is not given to a run that was accepted before.

    Raises:
        Unavailable: Redis could not be asked.
        Broken: what is kept is no set of rules.
    """
    if spec.tenant is None:
        return spec
    try:
        key_id: Any = await redis.hget(keys.run(spec.run_id), "key_id")
    except (RedisError, OSError) as error:
        raise Unavailable("the grants cannot be read") from error
    today = await GrantStore(redis).ceiling(spec.tenant, (key_id or b"").decode())
    new = [one for one in today.items() if one not in spec.grants.sets]
    return replace(spec, grants=replace(spec.grants, sets=(*spec.grants.sets, *new)))
