"""
What Redis still has of runs whose payloads were erased, and its removal.

Of a run everything goes: record, tape, events, job and result, so that the API no longer knows it;
of an item of a batch also the id that its user gave it. What its input was stands in the batch only
until that has ended.
A script is stored once for all tenants by its digest; it goes when no run in Redis has it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError, ResponseError, WatchError

from core import keys
from core.errors import Unavailable
from runs.batches.names import forget_names

if TYPE_CHECKING:
    from redis import Redis

_AT_ONCE = 200
#: Seconds of the periods by which stored bytes are kept; as in `lib_stored.lua`.
PERIOD_S = 21_600
_TRIES = 5
_REWRITE_S = 60.0
_REWRITE_STEP_S = 0.1


def forget_runs(redis: Redis, runs: Mapping[str, str]) -> int:
    """Remove runs (id to tenant) that have ended and are archived; give how many were there."""
    there = 0
    named = list(runs.items())
    for at in range(0, len(named), _AT_ONCE):
        _forget_around(redis, named[at : at + _AT_ONCE])
        pipeline = redis.pipeline(transaction=True)
        for run, tenant in named[at : at + _AT_ONCE]:
            pipeline.delete(keys.run(run))
            pipeline.delete(
                *(keys.tape(run), keys.events(run), keys.cancel(run), keys.approvals(run)),
                keys.delivery(keys.delivery_of(run)),
                *(f"rq:{kind}:{run}" for kind in ("job", "results", "executions")),
            )
            pipeline.zrem(keys.tenant_runs(tenant), run)
            for queue in keys.queues(tenant):
                for registry in ("finished", "failed", "canceled"):
                    pipeline.zrem(f"rq:{registry}:{queue}", run)
        answers: list[Any] = pipeline.execute()
        there += sum(answers[:: len(answers) // len(named[at : at + _AT_ONCE])])
    return there


def _forget_around(redis: Redis, named: Sequence[tuple[str, str]]) -> None:
    """Remove the answers that tell of runs, and count the runs' bytes no more."""
    pipeline = redis.pipeline(transaction=False)
    for run, _ in named:
        pipeline.hmget(keys.run(run), "answered", "stored", "batch", "item")
    rows: list[list[bytes | None]] = pipeline.execute()
    _forget_items(redis, rows)
    pipeline = redis.pipeline(transaction=True)
    for (run, tenant), (answered, stored, *_) in zip(named, rows, strict=True):
        if answered is not None and answered.startswith(keys.idempotency(tenant, "").encode()):
            pipeline.delete(answered.decode())
        if stored is not None:
            # In one transaction, so that nothing is taken off twice.
            pipeline.hdel(keys.run(run), "stored")
            bytes_, until_s, key_id = stored.decode().split("|")
            if int(until_s) > time.time():
                for where in (keys.stored(tenant), keys.stored(tenant, key_id))[: 1 + bool(key_id)]:
                    pipeline.hincrby(where, "total", -int(bytes_))
                    pipeline.hincrby(where, str(int(until_s) // PERIOD_S), -int(bytes_))
    pipeline.execute()


def _forget_items(redis: Redis, rows: Sequence[Sequence[bytes | None]]) -> None:
    """Take the own ids of items out of their batches: their users chose them."""
    items: dict[str, list[int]] = {}
    for *_, batch, item in rows:
        if batch is not None and item is not None:
            items.setdefault(batch.decode(), []).append(int(item))
    for batch_id, indexes in items.items():
        forget_names(redis, batch_id, indexes)


def forget_batches(redis: Redis, tenant: str) -> int:
    """Remove a tenant's batches that have ended; give how many have not, and stay."""
    ids: Any = redis.zrange(keys.tenant_batches(tenant), 0, -1)
    left = 0
    for one in ids:
        batch_id = one.decode()
        if redis.hexists(keys.batch(batch_id), "ended_ms"):
            parts = (keys.batch_names, keys.batch_ends, keys.batch_items, keys.batch_scripts)
            redis.delete(keys.batch(batch_id), *(part(batch_id) for part in parts))
            redis.zrem(keys.tenant_batches(tenant), batch_id)
        else:
            left += int(redis.exists(keys.batch(batch_id)))
    return left


def forget_scripts(redis: Redis, digests: Collection[str]) -> None:
    """
    Remove scripts that no run in Redis has; those submitted meanwhile stay.

    Raises:
        Unavailable: one of them was submitted again and again.
    """
    named = sorted(digests)
    for at in range(0, len(named), _AT_ONCE):
        with redis.pipeline(transaction=True) as pipeline:
            _forget_unused(redis, pipeline, named[at : at + _AT_ONCE])


def _forget_unused(redis: Redis, pipeline: Any, digests: Collection[str]) -> None:
    for _ in range(_TRIES):
        pipeline.watch(*map(keys.script, digests))
        digests = set(digests) - _scripts_in_use(redis)  # those in use may come and go
        if not digests:
            return
        pipeline.multi()
        pipeline.delete(*map(keys.script, digests))
        with suppress(WatchError):
            pipeline.execute()
            return
    raise Unavailable(
        "scripts are being submitted while they are to be removed", hint="erase again"
    )


def still_there(redis: Redis, tenant: str) -> int:
    """Count the runs of a tenant that Redis still has: not ended, or not archived yet."""
    ids: Any = redis.zrange(keys.tenant_runs(tenant), 0, -1)
    pipeline = redis.pipeline(transaction=False)
    for run in ids:
        pipeline.exists(keys.run(run.decode()))
    return sum(pipeline.execute()) if ids else 0


def rewrite_log(redis: Redis, done: str) -> None:
    """
    Have Redis write its append-only file anew, if it keeps one: the old one holds what was deleted.

    `done` is what has been erased, for words. A Redis that lets nobody ask is left alone: its file
    is the business of whoever runs it.

    Raises:
        Unavailable: it cannot, or has been at it for too long, with what there was before.
    """
    until = time.monotonic() + _REWRITE_S
    while True:
        try:
            if redis.info("persistence").get("aof_enabled") != 0:
                redis.bgrewriteaof()
        except ResponseError as error:
            if isinstance(error, NoPermissionError) or "unknown command" in str(error):
                return
            if "in progress" not in str(error) or time.monotonic() > until:
                raise Unavailable(
                    f"{done}; but Redis does not write its append-only file anew, and the old one"
                    f" may hold of that: {error}",
                    hint="see what Redis logs, and erase again",
                ) from error
        else:
            return
        time.sleep(_REWRITE_STEP_S)


def _scripts_in_use(redis: Redis) -> set[str]:
    return {digest for part in _pages(redis) for digest in part}


def _pages(redis: Redis) -> Iterator[list[str]]:
    cursor: Any = 0
    while True:
        found: Any
        cursor, found = redis.scan(cursor, match=keys.run("*"), count=_AT_ONCE)
        pipeline = redis.pipeline(transaction=False)
        for key in found:
            pipeline.hget(key.decode(), "script_sha256")
        yield [one.decode() for one in pipeline.execute() if one]
        if not cursor:
            return
