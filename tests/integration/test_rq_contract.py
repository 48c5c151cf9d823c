"""One job through RQ's own worker, one through ours: every key and field must agree."""

from __future__ import annotations

import re
from typing import Any

import pytest
import redis
import redis.asyncio
from rq import Queue, SimpleWorker, Worker, get_current_job
from rq.job import Job

from core import keys
from runs.model import RunRequest
from runs.store import RunStore
from tests.deadline import Deadline
from tests.worker_processes import running_worker

_EXECUTION = re.compile(r"[0-9a-f]{32}")
THEIRS = "theirs"
OURS = keys.queue("acme")
TTL_S = 500
TTLS = {"ttl": TTL_S, "result_ttl": TTL_S, "failure_ttl": TTL_S}

#: Fields whose values must differ: times, names and what was executed.
_FREE = {
    "created_at",
    "enqueued_at",
    "started_at",
    "ended_at",
    "last_heartbeat",
    "id",
    "job_id",
    "data",
    "description",
    "origin",
    "worker_name",
    "timeout",
    "return_value",
    "exc_string",
    "execution_id",
    "execution_started_at",
    "execution_ended_at",
    "total_working_time",
    "birth",
    "death",
    "hostname",
    "ip_address",
    "pid",
    "queues",
}


def succeed() -> dict[str, int]:
    """Be a job that succeeds."""
    return {"a": 1}


def fail() -> None:
    """Be a job that fails."""
    raise RuntimeError("on purpose")


def look() -> None:
    """Be a job that notes what RQ has written of it."""
    job = get_current_job()
    assert job is not None
    _looked.append(snapshot(job.connection, job.id, THEIRS))


#: How many runs a worker takes at once: RQ has no such thing, and reads its workers by name.
_ONLY_OURS = {"slots"}
_looked: list[dict[str, Any]] = []


def snapshot(client: redis.Redis, job_id: str, queue: str) -> dict[str, Any]:
    """Give every `rq:` key with type, expiry and content; ids and free values by placeholder."""
    workers: Any = [*client.keys("rq:worker:*")]
    names = {key.decode().split(":")[2] for key in workers}
    found = {}
    for key in client.scan_iter("rq:*"):
        name = key.decode()
        for worker in names:
            name = name.replace(worker, "<worker>")
        name = name.replace(job_id, "<job>").replace(queue, "<queue>")
        name = _EXECUTION.sub("<execution>", name)
        found[name] = _content(client, key, job_id)
    return found


def _content(client: redis.Redis, key: bytes, job_id: str) -> dict[str, Any]:
    kind: Any = client.type(key)
    expires = client.ttl(key) != -1
    match kind:
        case b"hash":
            content: Any = _fields(client.hgetall(key))
        case b"stream":
            entries: Any = client.xrange(key)
            content = [_fields(fields) for _, fields in entries]
        case b"zset":
            members: Any = client.zrange(key, 0, -1)
            texts = [member.decode().replace(job_id, "<job>") for member in members]
            content = [_EXECUTION.sub("<execution>", text) for text in texts]
        case _:
            content = None
    return {"type": kind, "expires": expires, "content": content}


def _fields(fields: Any) -> dict[str, str]:
    return {
        name.decode(): _shape(value) if name.decode() in _FREE else value.decode()
        for name, value in fields.items()
        if name.decode() not in _ONLY_OURS
    }


def _shape(value: bytes) -> str:
    return "empty" if value == b"" else "given"


def through_rq(client: redis.Redis, function: Any) -> dict[str, Any]:
    """Run one job through RQ's worker and give the snapshot."""
    client.flushall()
    queue = Queue(THEIRS, connection=client, serializer="json")
    job = queue.enqueue(function, ttl=TTL_S, result_ttl=TTL_S, failure_ttl=TTL_S)
    SimpleWorker([queue], connection=client, serializer="json").work(
        burst=True, logging_level="ERROR"
    )
    return snapshot(client, job.id, THEIRS)


async def through_ours(
    redis_url: str, client: redis.Redis, store: RunStore, *, failing: bool
) -> dict[str, Any]:
    """Run one through our worker and give the snapshot; failing is a record that is gone."""
    client.flushall()
    run_id = (await store.submit("acme", RunRequest(script="return {a = 1}"), key_id="k")).id
    client.hset(
        f"rq:job:{run_id}", mapping={"ttl": TTL_S, "result_ttl": TTL_S, "failure_ttl": TTL_S}
    )
    if failing:
        client.delete(keys.run(run_id))
    with running_worker(redis_url) as worker:
        job = Job.fetch(run_id, connection=client, serializer="json")
        Deadline().until(lambda: job.get_status() in {"finished", "failed"}, "the end of the job")
        worker.stop()
    return snapshot(client, run_id, OURS)


#: Locks of RQ's own maintenance, which our sweep replaces.
ONLY_THEIRS = {"rq:clean_groups"}


@pytest.mark.parametrize("failing", [False, True], ids=["finished", "failed"])
async def test_a_job_leaves_the_same_behind_in_both_workers(
    redis_url: str, redis_async: redis.asyncio.Redis, redis_sync: redis.Redis, *, failing: bool
) -> None:
    """Keys, types, expiries, fields and the values that can agree are RQ's own."""
    theirs = through_rq(redis_sync, fail if failing else succeed)
    ours = await through_ours(redis_url, redis_sync, RunStore(redis_async), failing=failing)

    assert ours == {key: value for key, value in theirs.items() if key not in ONLY_THEIRS}
    assert set(theirs) - set(ours) <= ONLY_THEIRS


async def test_a_job_looks_the_same_while_it_is_executed(
    redis_url: str, redis_async: redis.asyncio.Redis, redis_sync: redis.Redis
) -> None:
    """What RQ's tools see of a job under way is what RQ's own worker would have written."""
    through_rq(redis_sync, look)
    theirs = _looked.pop()

    redis_sync.flushall()
    store = RunStore(redis_async)
    limits = {"instructions": 2_000_000_000, "cpu_ms": 60_000}
    request = RunRequest(script="while true do end", limits=limits)
    run_id = (await store.submit("acme", request, key_id="k")).id
    redis_sync.hset(
        f"rq:job:{run_id}", mapping=dict.fromkeys(("ttl", "result_ttl", "failure_ttl"), TTL_S)
    )
    with running_worker(redis_url):
        job = Job.fetch(run_id, connection=redis_sync, serializer="json")
        Deadline().until(lambda: job.get_status() == "started", "the start of the job")
        # A worker shows up at a queue once it has a job of it: the claim comes first.
        Deadline().until(lambda: Worker.count(queue=Queue(OURS, redis_sync)) == 1, "its worker")
        ours = snapshot(redis_sync, run_id, OURS)

    assert ours == {key: value for key, value in theirs.items() if key not in ONLY_THEIRS}
