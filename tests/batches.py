"""Batches made without HTTP, and runs that end without a worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson

from core import keys
from runs.acceptance import Terms
from runs.batches.feeding import Feeder
from runs.batches.model import BatchRecord, BatchRequest, Item
from runs.batches.results import Results
from runs.batches.store import BatchStore, Giver
from runs.batches.upload import Upload
from runs.model import RunRequest
from tenancy.keys import KeyStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

NO_OP = RunRequest(script="return input")


class Batches:
    """A tenant with a key, and what makes and feeds its batches."""

    def __init__(self, redis: Redis, tenant: str, giver: Giver, terms: Terms) -> None:
        self.redis = redis
        self.tenant = tenant
        self.giver = giver
        self.store = BatchStore(redis, terms)
        self.feeder = Feeder(redis, terms)

    @classmethod
    async def of(cls, redis: Redis, tenant: str = "acme", **terms: Any) -> Batches:
        """Make a key of `tenant`."""
        _, key = await KeyStore(redis).create(tenant, "test")
        return cls(redis, tenant, Giver(key.id, key.owner), Terms(**terms))

    async def make(
        self, items: Iterable[Item] | int, run: RunRequest = NO_OP, **terms: Any
    ) -> BatchRecord:
        """Make a sealed batch of items, or of so many numbers as inputs."""
        request = BatchRequest(run, **terms)
        begun = await self.store.begin(self.tenant, request, by=self.giver)
        upload = Upload(self.store, begun)
        for item in numbers(items) if isinstance(items, int) else items:
            await upload.add(item)
        return await upload.seal()

    async def runs(self, batch_id: str) -> list[str]:
        """Give the ids of the queued runs of one batch, in the order in which they start."""
        queued: Any = await self.redis.lrange(f"rq:queue:{keys.queue(self.tenant)}", 0, -1)
        ids = [one.decode() for one in queued]
        found: Any = [await self.redis.hget(keys.run(one), "batch") for one in ids]
        return [one for one, batch in zip(ids, found, strict=True) if batch == batch_id.encode()]

    async def results(self, batch_id: str, first: int = 0) -> list[dict[str, Any]]:
        """Give the results of a batch as they are now."""
        record = await self.store.get(self.tenant, batch_id)
        lines = Results(self.redis, record).lines(first)
        return [orjson.loads(line) async for line in lines]

    async def get(self, batch_id: str) -> BatchRecord:
        """Give a batch as it is now."""
        return await self.store.get(self.tenant, batch_id)


def numbers(count: int) -> Iterable[Item]:
    """Give items whose inputs count from 0."""
    return (Item(input=str(number).encode()) for number in range(count))
