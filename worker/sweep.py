"""
Putting right what nobody else will: runs of dead workers, forgotten queues, cancelled jobs.

Runs in: worker (any one of them at a time). Trusts: Redis and its clock. Refuses: to end a run
whose lease may still be renewed. May import: ledger, runs, redis.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import structlog
from redis.exceptions import RedisError

from core import keys
from ledger.recording import Recording, TapeUnreadable
from ledger.redis_tape import scan_tape
from runs.cancelling import cancel
from runs.endings import Ending, record_fields, tape_body
from runs.expiring import end_expired
from runs.model import State
from runs.redis_scripts import Arg, load
from runs.rq_job import timestamp
from sandbox.outcome import Fault, Reason
from worker.execute import called, is_outside
from worker.outbox import rq_words

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from worker.plan import WorkerPlan

_QUEUE_KEY = "rq:queue:"
_TIDY_S = 60.0
_BATCH = 100
_PAGES, _PAGE = 8, 1_000
_TRIES = 3
_CANCELED_KEPT_S = 30 * 86_400
_CANCEL_S = 7_200
_LEAVE_S = 2.0
#: After so many seconds nobody writes the number of a second that is past.
_SETTLED_S = 10
#: RECOVER's answer when the run waits in its queue again.
_BACK = 2


class Sweep:
    """Looks around every `plan.sweep_s` seconds, while no other worker does."""

    def __init__(self, redis: Redis, plan: WorkerPlan) -> None:
        self._redis = redis
        self._plan = plan
        self._quiet_until = 0.0
        self._tidy_at = 0.0
        self._seen_canceled: dict[str, float] = {}
        self._cursor = 0

    async def run(self) -> None:
        """Look around for ever."""
        while True:
            await self._unless_away()
            await asyncio.sleep(self._plan.sweep_s)

    async def leave(self) -> None:
        """Leave it to others from this moment on, once `run` has ended."""
        # What this worker has let go waits for a look around; nobody should wait for its turn too.
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                if await self._redis.get(keys.SWEEP_LOCK) == self._plan.name.encode():
                    await self._redis.delete(keys.SWEEP_LOCK)

    async def once(self) -> None:
        """
        Look around once.

        Raises:
            RedisError: Redis does not answer.
        """
        seconds, _ = await self._redis.time()
        over: Any = await self._redis.zrangebyscore(keys.LEASES, 0, seconds, 0, _BATCH)
        for member in over:
            await self._recover(member.decode())
        await end_expired(self._redis)
        await load("release").run_async(self._redis, [_BATCH])
        queues = await self._some_queues()
        await self._repair_ring(queues)
        await self._end_canceled(queues, seconds)
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + _TIDY_S
            await self._tidy(queues, seconds)

    async def _unless_away(self) -> None:
        try:
            await self._maybe_once()
        except (RedisError, OSError) as error:
            # Whoever holds a lease could not renew it either: give them time to do so first.
            self._quiet_until = time.monotonic() + self._plan.lease_s
            structlog.get_logger(__name__).warning("sweep_put_off", error=type(error).__name__)

    async def _maybe_once(self) -> None:
        lock_ms = max(1, int(self._plan.sweep_s * 900))
        mine = await self._redis.set(keys.SWEEP_LOCK, self._plan.name, nx=True, px=lock_ms)
        if mine and time.monotonic() >= self._quiet_until:
            await self.once()

    # --- runs of dead workers ------------------------------------------------------------------

    async def _recover(self, member: str) -> None:
        queue, _, key = member.partition("|")
        run_id, _, execution = key.partition(":")
        for _ in range(_TRIES):
            ending, attempt, length = await self._judge(run_id)
            how, value = rq_words(run_id, ending.reason, ending.error.message)  # type: ignore[union-attr]
            args: list[Arg] = [queue, run_id, execution, length, how, value]
            args += [timestamp(time.time_ns() // 1_000_000), ending.state, ending.reason]
            lost = ending.reason is Reason.WORKER_LOST
            args += [tape_body(ending, attempt), self._plan.attempts if lost else 0]
            args += record_fields(ending)
            code = await load("recover").run_async(self._redis, args)
            if code > 0:
                how = "run_goes_on" if code == _BACK else f"run_ended_{ending.reason}"
                structlog.get_logger(__name__).warning(how, run=run_id, attempt=attempt)
            if code != -1:
                return

    async def _judge(self, run_id: str) -> tuple[Ending, int, int]:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hget(keys.run(run_id), "attempt")
        pipeline.exists(keys.cancel(run_id))
        pipeline.hget(f"rq:job:{run_id}", "status")
        found, asked, status = await pipeline.execute()
        attempt = int(found or 0)
        calls, sent, length = await self._calls_on_tape(run_id)
        unknown = sum(call["effect"] == "unknown" for call in calls)
        if asked or status in {b"canceled", b"stopped"}:
            reason, message = Reason.CANCELLED, f"cancelled on request; {called(sent)}"
        else:
            reason = Reason.WORKER_LOST
            times = f", in each of {attempt} attempts" if attempt > 1 else ""
            message = f"the worker that executed this run was lost{times}; {called(sent)}"
        if unknown:
            message += f", {unknown} of unknown effect"
        hint = "look at what the calls did before you submit it again" if sent else None
        return (
            Ending(reason, error=Fault(message, hint=hint), calls=calls),
            attempt,
            length,
        )

    async def _calls_on_tape(self, run_id: str) -> tuple[list[dict[str, Any]], int, int]:
        try:
            tape = await Recording.read(scan_tape(self._redis, run_id), bodies=False)
        except (TapeUnreadable, ValueError, KeyError):
            structlog.get_logger(__name__).exception("tape_unreadable", run=run_id)
            return [], 0, int(await self._redis.xlen(keys.tape(run_id)))
        calls = [tape.calls[seq] for seq in sorted(tape.calls)]
        sent = sum(call.began > 0 and is_outside(call.name) for call in calls)
        done = [call.record().to_json() for call in calls if not call.waits]
        return done, sent, tape.length

    # --- what stock RQ code leaves behind ------------------------------------------------------

    async def _some_queues(self) -> list[str]:
        """Give tenants' queues: all of them, or of very many some, and others the next time."""
        known = set[bytes]()
        for _ in range(_PAGES):
            found: Any = await self._redis.sscan("rq:queues", self._cursor, count=_PAGE)
            self._cursor, page = found
            known.update(page)
            if self._cursor == 0:
                break
        names = (key.decode().removeprefix(_QUEUE_KEY) for key in known)
        return sorted(name for name in names if keys.tenant_of(name))

    async def _repair_ring(self, queues: list[str]) -> None:
        # `rq requeue`, the dashboard and RQ's scheduler push jobs without knowing of the ring.
        pipeline = self._redis.pipeline(transaction=False)
        for queue in queues:
            pipeline.llen(_QUEUE_KEY + queue)
        lengths = await pipeline.execute()
        filled = (name for name, length in zip(queues, lengths, strict=True) if length)
        await self._join_ring({keys.tenant_of(name) for name in filled})

    async def _join_ring(self, tenants: Collection[str]) -> None:
        names = sorted(tenants)
        for at in range(0, len(names), _BATCH):
            some = names[at : at + _BATCH]
            await load("join").run_async(self._redis, [self._plan.share, *some])

    async def _end_canceled(self, queues: list[str], now_s: int) -> None:
        # RQ's own cancel takes a job off its queue and knows nothing of the run.
        bounds = {queue: self._unseen_canceled(queue, now_s) for queue in queues}
        left, offset = queues, 0
        while left:
            pipeline = self._redis.pipeline(transaction=False)
            for queue in left:
                key = f"rq:canceled:{queue}"
                pipeline.zrangebyscore(key, bounds[queue], "+inf", offset, _BATCH, withscores=True)
            pages = list(zip(left, await pipeline.execute(), strict=True))
            for queue, found in pages:
                if found:
                    self._seen_canceled[queue] = found[-1][1]
                    await self._end_not_executed(queue, [job_id.decode() for job_id, _ in found])
            left = [queue for queue, found in pages if len(found) == _BATCH]
            offset += _BATCH

    def _unseen_canceled(self, queue: str, now_s: int) -> str:
        """Give the bound of what may not have been seen: more may come in the second just past."""
        seen = self._seen_canceled.get(queue, 0.0)
        return f"({seen}" if seen < now_s - _SETTLED_S else str(seen)

    async def _end_not_executed(self, queue: str, runs: list[str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for run_id in runs:
            pipeline.hmget(keys.run(run_id), ["state", "execution"])
        for run_id, found in zip(runs, await pipeline.execute(), strict=True):
            state, execution = (one.decode() if one is not None else "" for one in found)
            if state == State.RUNNING:
                await self._end_between_attempts(queue, run_id, execution)
            if state in {State.QUEUED, State.WAITING}:
                await cancel(self._redis, keys.tenant_of(queue), run_id)

    async def _end_between_attempts(self, queue: str, run_id: str, execution: str) -> None:
        # It was lost and waited for its next attempt: that one ends it, with what its tape says.
        if await self._redis.zscore(f"rq:wip:{queue}", f"{run_id}:{execution}") is not None:
            return
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.set(keys.cancel(run_id), 1, ex=_CANCEL_S)
        pipeline.zrem(f"rq:canceled:{queue}", run_id)
        pipeline.hset(f"rq:job:{run_id}", "status", "queued")
        pipeline.lpush(_QUEUE_KEY + queue, run_id)
        await pipeline.execute()
        await self._join_ring([keys.tenant_of(queue)])

    async def _tidy(self, queues: list[str], now_s: int) -> None:
        workers = list(await cast("Awaitable[set[bytes]]", self._redis.smembers("rq:workers")))
        pipeline = self._redis.pipeline(transaction=False)
        for worker in workers:
            pipeline.exists(worker)
        alive = await pipeline.execute()
        dead = [worker for worker, lives in zip(workers, alive, strict=True) if not lives]
        for queue in queues:
            pipeline.zremrangebyscore(f"rq:finished:{queue}", 0, now_s)
            pipeline.zremrangebyscore(f"rq:failed:{queue}", 0, now_s)
            pipeline.zremrangebyscore(f"rq:canceled:{queue}", 0, now_s - _CANCELED_KEPT_S)
            if dead:
                pipeline.srem(f"rq:workers:{queue}", *dead)
        if dead:
            pipeline.srem("rq:workers", *dead)
        await pipeline.execute()
