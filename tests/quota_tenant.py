"""A tenant whose runs are counted, and a worker that ends them without executing anything."""

from __future__ import annotations

import itertools
from typing import Any

import redis
import redis.asyncio

from core import keys
from runs.acceptance import Terms
from runs.endings import Ending, record_fields, tape_body
from runs.model import RunRequest
from runs.redis_scripts import Arg, load
from runs.store import RunStore
from sandbox.outcome import Reason, Usage


class Tenant:
    """A tenant with terms and one key, over a real Redis."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.redis = client
        self.store = RunStore(client, Terms(queue_max=1_000))

    async def terms(self, key: str | None = None, /, **terms: int) -> None:
        """Give the tenant, or a key, terms."""
        where = keys.key_terms("acme", key) if key else keys.terms("acme")
        for name, value in terms.items():
            await self.redis.hset(where, name, str(value))

    async def submit(self, key: str = "key_a", **limits: int) -> Any:
        """Submit a no-op with these limits."""
        request = RunRequest(script="return 1", limits=limits)
        return await self.store.submit("acme", request, key_id=key)


class Worker:
    """Claims and finishes as a worker does, without executing anything."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client
        self._numbers = itertools.count()

    async def claim(self, want: int = 1) -> list[tuple[str, str, str]]:
        """Claim runs; give queue, id and execution of each."""
        executions = [f"e{next(self._numbers)}" for _ in range(want)]
        head: list[Arg] = [want, 30, "w", "2026-01-01T00:00:00.000000Z", 0, "", 0, "{}", "null", 0]
        rows = await load("claim").run_async(self._redis, [*head, *executions])
        return [(row[1].decode(), row[2].decode(), row[3].decode()) for row in rows]

    async def finish(
        self, claim: tuple[str, str, str], instructions: int = 0, reason: Reason = Reason.OK
    ) -> None:
        """End a claimed run, which used so many instructions."""
        ending = Ending(reason, usage=Usage(instructions=instructions))
        args: list[Arg] = [*claim, "w", "finished", "", "2026-01-01T00:00:00.000000Z", "0", "0"]
        args += [ending.state.value, reason.value, tape_body(ending, 1), *record_fields(ending)]
        assert await load("finish").run_async(self._redis, args) >= 1


async def used(tenant: Tenant, quota: str, key: str | None = None) -> int:
    """Give what is counted in a quota at the moment."""
    kept = await tenant.redis.hget(keys.quota("acme", key), f"{quota}:sum")
    return int(kept or 0)
