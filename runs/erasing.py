"""
What Redis still has of runs whose payloads were erased, and its removal.

Of a run everything goes: record, tape, events, job and result, so that the API no longer knows it.
A script is stored once for all tenants by its digest; it goes when no run in Redis has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError, WatchError

from core import keys

if TYPE_CHECKING:
    from redis import Redis

_AT_ONCE = 200
_TRIES = 5


def forget_runs(redis: Redis, runs: Mapping[str, str]) -> int:
    """Remove runs (id to tenant) that have ended and are archived; give how many were there."""
    there = 0
    named = list(runs.items())
    for at in range(0, len(named), _AT_ONCE):
        pipeline = redis.pipeline(transaction=True)
        for run, tenant in named[at : at + _AT_ONCE]:
            pipeline.delete(keys.run(run))
            pipeline.delete(
                *(keys.tape(run), keys.events(run), keys.cancel(run), keys.approvals(run)),
                *(f"rq:{kind}:{run}" for kind in ("job", "results", "executions")),
            )
            pipeline.zrem(keys.tenant_runs(tenant), run)
            for queue in keys.queues(tenant):
                for registry in ("finished", "failed", "canceled"):
                    pipeline.zrem(f"rq:{registry}:{queue}", run)
        answers: list[Any] = pipeline.execute()
        there += sum(answers[:: len(answers) // len(named[at : at + _AT_ONCE])])
    return there


def forget_scripts(redis: Redis, digests: Collection[str]) -> None:
    """Remove scripts that no run in Redis has; one that is submitted meanwhile stays."""
    for digest in digests:
        key = keys.script(digest)
        pipeline: Any = redis.pipeline(transaction=True)
        with pipeline:
            for _ in range(_TRIES):
                pipeline.watch(key)
                if digest in _scripts_in_use(redis):
                    break
                pipeline.multi()
                pipeline.delete(key)
                with suppress(WatchError):
                    pipeline.execute()
                    break


def still_there(redis: Redis, tenant: str) -> int:
    """Count the runs of a tenant that Redis still has: not ended, or not archived yet."""
    ids: Any = redis.zrange(keys.tenant_runs(tenant), 0, -1)
    pipeline = redis.pipeline(transaction=False)
    for run in ids:
        pipeline.exists(keys.run(run.decode()))
    return sum(pipeline.execute()) if ids else 0


def rewrite_log(redis: Redis) -> None:
    """Ask Redis to write its append-only file anew: the old one holds what was deleted."""
    with suppress(ResponseError):  # it is at it, or keeps none
        redis.bgrewriteaof()


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
