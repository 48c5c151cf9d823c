"""
Making runs of a batch's items, in order: as many as may be on their way at once, and no more.

What was fed is told by one number in the batch's record, which moves in the same step of Redis in
which runs are accepted. Any number of feeders may look at one batch; each may die at any moment.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys
from core.clock import Clock, now_ms
from core.errors import Broken, NotFound
from runs.accept import Checked, check_request
from runs.acceptance import Acceptance, Place, Terms, acceptance_of
from runs.batches.ending import OnTheirWay
from runs.batches.ids import RunIds
from runs.batches.items import Chunk, Stored, chunk_with
from runs.batches.model import BatchState
from runs.ceilings import ceilings_of, lowered
from runs.model import RunRequest
from runs.origin import Origin, OriginKind
from runs.redis_scripts import Arg, load
from sandbox.limits import KIB, Limits
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet, Whose
from tenancy.keys import KeyStore
from tenancy.scopes import Scope

if TYPE_CHECKING:
    from redis.asyncio import Redis

_IN_A_STEP = 50
_STEP_BYTES = 512 * KIB
_STEPS = 4
_KNOWN_BATCHES = 1_024
_CHUNKS = 64
_NO_SCRIPT = "return"
#: Seconds after which a batch with no room, or with runs that do not end, is looked at again.
_FULL_S = 1.0
_ENDING_S = 10.0


@dataclass(frozen=True, slots=True)
class Fed:
    """
    What came of feeding a batch once.

    `count` items were fed. `again_s`: seconds after which it is to be fed again; None: when it is
    asked for. `concurrency` is the batch's, 0 when it is over.
    """

    count: int = 0
    again_s: float | None = None
    concurrency: int = 0


@dataclass(slots=True)
class _Known:
    """What never changes of a batch, and what was found out on the way."""

    id: str
    tenant: str
    key_id: str
    key_owner: str
    base: Checked
    given_limits: dict[str, int]
    own_seed: bool
    script_sha256: str
    ids: RunIds
    ceilings: Mapping[str, int] = field(default_factory=dict)
    drained: bool = False


@dataclass(frozen=True, slots=True)
class _Source:
    """The chunk that a batch is fed from at the moment, and the scripts of its items."""

    chunk: Chunk
    scripts: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What changes of a batch."""

    state: BatchState
    fed: int
    ended: int
    total: int
    concurrency: int

    @property
    def free(self) -> int:
        return min(self.concurrency - (self.fed - self.ended), self.total - self.fed)


class Feeder:
    """Feeds batches of all tenants. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, terms: Terms, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._terms = terms
        self._clock = clock
        self._grants = GrantStore(redis)
        self._keys = KeyStore(redis, clock)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._still: dict[str, tuple[_Seen, int]] = {}

    async def feed(self, batch_id: str) -> Fed:
        """
        Do what is due for a batch: feed some of it, or cancel what is on its way.

        Raises:
            RedisError, Unavailable: Redis does not answer, or takes no writes.
            Broken: what is stored cannot be read.
        """
        seen = await self._look(batch_id)
        if seen is None or seen.state.terminal or seen.state is BatchState.UPLOADING:
            self._known.pop(batch_id, None)
            self._sources.pop(batch_id, None)
            return Fed()
        known = await self._learn(batch_id)
        if known is None:
            return Fed()
        if seen.state is not BatchState.RUNNING:
            return await self._end(known, seen)
        if seen.free <= 0:
            return Fed(concurrency=seen.concurrency)
        try:
            return await self._feed_some(known, seen)
        except Broken:
            # Its items go with a batch that has ended since it was looked at.
            now = await self._look(batch_id)
            if now is not None and now.state is BatchState.RUNNING:
                raise
            return Fed(again_s=0.0)

    async def find_lost(self, batch_ids: Sequence[str], still_s: float) -> None:
        """
        Look for runs that are gone without an end, so that their batches can end.

        Only batches are searched of which nothing was fed and nothing ended for `still_s` seconds.

        Raises:
            RedisError: Redis does not answer.
        """
        now = self._clock()
        self._still = {one: since for one, since in self._still.items() if one in self._known}
        for batch_id in batch_ids:
            seen, known = await self._look(batch_id), self._known.get(batch_id)
            if seen is None or known is None or seen.fed == seen.ended:
                continue
            before, since_ms = self._still.get(batch_id, (None, now))
            if before != seen:
                since_ms = now
            elif now - since_ms >= still_s * 1000:
                left = OnTheirWay(batch_id, known.tenant, known.ids, seen.fed)
                await left.find_lost(self._redis, now)
                since_ms = now
            self._still[batch_id] = seen, since_ms

    # --- parts ---------------------------------------------------------------------------------

    async def _look(self, batch_id: str) -> _Seen | None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hdel(keys.batch(batch_id), "woken")
        names = ["state", "fed", "ended", "total", "concurrency"]
        pipeline.hmget(keys.batch(batch_id), names)
        _, (state, *numbers) = await pipeline.execute()
        if state is None:
            return None
        return _Seen(BatchState(state.decode()), *(int(one) for one in numbers))

    async def _learn(self, batch_id: str) -> _Known | None:
        known = self._known.get(batch_id)
        if known is None:
            fields = await cast(
                "Awaitable[dict[bytes, bytes]]", self._redis.hgetall(keys.batch(batch_id))
            )
            if b"request" not in fields:
                return None
            known = self._known[batch_id] = _known_of(batch_id, fields)
            if len(self._known) > _KNOWN_BATCHES:
                self._known.popitem(last=False)
        self._known.move_to_end(batch_id)
        return known

    async def _end(self, known: _Known, seen: _Seen) -> Fed:
        only_queued = seen.state is BatchState.STOPPING
        # Nothing is queued any more after it was looked through once: nothing is fed.
        if not (only_queued and known.drained):
            left = OnTheirWay(known.id, known.tenant, known.ids, seen.fed)
            await left.cancel(self._redis, only_queued=only_queued)
            known.drained = only_queued
        return Fed(again_s=_ENDING_S)

    async def _feed_some(self, known: _Known, seen: _Seen) -> Fed:
        began = seen.fed
        ceiling = await self._grants.ceiling(known.tenant, known.key_id)
        if not await self._key_fits(known):
            # Of a key that is gone the grants are gone too: its runs could call more than before.
            args: list[Arg] = [known.id, known.tenant, self._clock(), "key_unfit"]
            await load("batch_cancel").run_async(self._redis, args)
            return Fed(again_s=0.0)
        if known.ceilings:
            known.ceilings = await ceilings_of(self._redis, known.tenant, known.key_id)
        for _ in range(_STEPS):
            if seen.free <= 0:
                break
            step = await self._step(known, seen, ceiling)
            word, fed, ended, wait_s = await load("batch_feed").run_async(self._redis, step)
            seen = replace(seen, fed=fed, ended=ended)
            if word == b"ceiling":
                # Most tenants have no ceilings, and nobody asks for them in vain.
                known.ceilings = await ceilings_of(self._redis, known.tenant, known.key_id)
            elif word not in {b"fed", b"moved"}:
                return Fed(fed - began, max(_FULL_S, float(wait_s)), seen.concurrency)
        again_s = 0.0 if seen.free > 0 else None
        return Fed(seen.fed - began, again_s, seen.concurrency)

    async def _key_fits(self, known: _Known) -> bool:
        """Tell whether the key that made a batch may still start its runs."""
        try:
            key = await self._keys.get(known.key_owner, known.key_id)
        except NotFound:
            return False
        needed = [Scope.WRITE, Scope.FORCE] if known.base.force else [Scope.WRITE]
        return key.unfit_for(known.tenant, needed, self._clock()) is None

    async def _step(
        self, known: _Known, seen: _Seen, ceiling: Mapping[Whose, GrantSet]
    ) -> list[Arg]:
        """Give the arguments of one step."""
        source = await self._source(known, seen.fed)
        left = source.chunk.items[seen.fed - source.chunk.first :]
        items = _few(left[: min(seen.free, _IN_A_STEP)])
        now, terms = self._clock(), self._terms
        expires_ms = known.base.expires_ms
        args: list[Arg] = [known.id, seen.fed, now, known.tenant, known.key_id]
        args += [keys.queue(known.tenant, known.base.priority), terms.queue_max, terms.inbox_max]
        args += [terms.keep_s, terms.queue_ttl_s, terms.index_max]
        args += ["" if expires_ms is None else expires_ms]
        first: Acceptance | None = None
        for index, item in enumerate(items, seen.fed):
            made = acceptance_of(
                known.ids.of(index),
                known.tenant,
                _checked(known, item, source.scripts),
                ceiling=ceiling,
                key_id=known.key_id,
                terms=terms,
                now_ms=now,
                place=Place(known.id, index),
            )
            if first is None:
                first = made
                args += [len(made.kept), *made.kept, len(made.job), *made.job]
            elif first.kept[::2] != made.kept[::2]:
                break  # it has other fields: the next step begins with it
            args += [made.record.id, made.record.script_sha256, made.accepted, made.leaf]
            for base, own in ((first.kept, made.kept), (first.job, made.job)):
                others = _others(base, own)
                args += [len(others), *others]
        return args

    async def _source(self, known: _Known, index: int) -> _Source:
        """Give what the item `index` is in."""
        source = self._sources.get(known.id)
        if source is None or not source.chunk.first <= index < source.chunk.end:
            chunk = await chunk_with(self._redis, known.id, index)
            scripts = None if chunk is None else await self._scripts(known, chunk, source)
            if chunk is None or scripts is None:
                raise Broken(f"item {index} of {known.id}, or its script, is not there any more")
            source = self._sources[known.id] = _Source(chunk, scripts)
            if len(self._sources) > _CHUNKS:
                self._sources.popitem(last=False)
        self._sources.move_to_end(known.id)
        return source

    async def _scripts(
        self, known: _Known, chunk: Chunk, before: _Source | None
    ) -> Mapping[str, bytes] | None:
        """Give the scripts of a chunk by their digests, None when one is gone."""
        digests = list({one.script_sha256 or known.script_sha256 for one in chunk.items})
        if before is not None and all(one in before.scripts for one in digests):
            return before.scripts
        texts = await cast(
            "Awaitable[list[bytes | None]]",
            self._redis.hmget(keys.batch_scripts(known.id), digests),
        )
        found = {one: text for one, text in zip(digests, texts, strict=True) if text is not None}
        return found if len(found) == len(digests) else None


def _few(items: Sequence[Stored]) -> Sequence[Stored]:
    """Give as many items as are sent in one step."""
    size_bytes = 0
    for count, item in enumerate(items):
        size_bytes += len(item.input)
        if size_bytes > _STEP_BYTES:
            return items[: max(1, count)]
    return items


def _known_of(batch_id: str, fields: dict[bytes, bytes]) -> _Known:
    request: dict[str, Any] = orjson.loads(fields[b"request"])
    script_ref = request.pop("script_ref")  # its text was looked up when the batch was made
    base = check_request(RunRequest(**request, script=_NO_SCRIPT))
    expires_ms = int(fields[b"expires_ms"]) if b"expires_ms" in fields else None
    origin = Origin(kind=OriginKind.BATCH, id=batch_id)
    return _Known(
        id=batch_id,
        tenant=fields[b"tenant"].decode(),
        key_id=fields[b"key_id"].decode(),
        key_owner=fields[b"key_owner"].decode(),
        base=replace(base, origin=origin, expires_ms=expires_ms, script_ref=script_ref),
        given_limits=request["limits"],
        own_seed=request.get("seed") is None,
        script_sha256=fields[b"script_sha256"].decode(),
        ids=RunIds(batch_id, int(fields[b"created_ms"])),
    )


def _others(base: Sequence[Arg], own: Sequence[Arg]) -> list[Arg]:
    """Give name and value of each field that differs; both have the same names."""
    others: list[Arg] = []
    for at in range(1, len(own), 2):
        if own[at] != base[at]:
            others += [own[at - 1], own[at]]
    return others


def _checked(known: _Known, item: Stored, scripts: Mapping[str, bytes]) -> Checked:
    """Give the request that an item stands for; it was checked when it was uploaded."""
    base = known.base
    limits = base.limits
    if item.limits:
        limits = Limits.from_json({**known.given_limits, **item.limits})
    if known.ceilings:
        limits = lowered(limits, known.ceilings)
    seed = secrets.randbits(63) if known.own_seed else base.seed
    return replace(
        base,
        script=scripts[item.script_sha256 or known.script_sha256],
        input=item.input,
        limits=limits,
        seed=seed if item.seed is None else item.seed,
        name=item.name or base.name,
        script_ref=base.script_ref if item.script_sha256 is None else None,
    )
