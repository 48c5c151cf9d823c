"""
What a worker has to tell Redis: events and ends of runs, in order, many in one round trip.

Runs in: worker. Trusts: Redis. Refuses: to forget an end before Redis has answered.
May import: runs, redis.

There is one sender, so a run's last log lines are in Redis before its end is. While Redis is away
everything waits here; an end that arrives after its lease was lost is refused by the script.
Events may be written twice when a connection is lost at the wrong moment.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from redis.exceptions import NoScriptError, RedisError

from core.redis_client import takes_no_writes
from runs.approvals import asked_leaf
from runs.endings import Ending, record_fields, tape_body
from runs.redis_scripts import Arg, RedisScript, load
from runs.rq_job import timestamp
from runs.suspension import question_json, usage_json, waits_json
from sandbox.outcome import OUR_FAULT, Reason
from sandbox.versions import versions
from worker.event_writer import MAX_EVENTS, EventEntry

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from runs.suspension import Suspension
    from worker.claim import Claim

_PAUSE_S = 0.5
_MAX_BATCH = 64
#: FINISH's answer when other RQ jobs depend on the one that ended.
DEPENDENTS = 2
#: SUSPEND's answer when somebody asked for the run to be cancelled.
TO_CANCEL = 3


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    The end of one claim. `how` and `value` are for RQ's job.

    `written` is what the run's record and tape get, in the bytes that are sent; empty: the job ends
    and the run is left alone.
    """

    claim: Claim
    how: str
    value: bytes
    written: tuple[Arg, ...] = ()


@dataclass(frozen=True, slots=True)
class LetGo:
    """
    A claim that this worker gives up: its run goes on elsewhere, over its tape.

    One by a `fault` counts as lost; one on purpose does not. `at_once`: another worker may take it
    in this moment; else when the next sweep has judged it.
    """

    claim: Claim
    fault: bool
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Suspended:
    """A claim whose run waits: from now on nobody holds it. `written` are SUSPEND's arguments."""

    claim: Claim
    written: tuple[Arg, ...]


#: How a claim is given back.
GivenBack = Delivery | LetGo | Suspended


class Outbox:
    """
    Sends events and ends. `on_delivered(claim, code)` is called when Redis has answered an end.

    The code is that of the FINISH script: 0 lease lost, 1 done, 2 done and other jobs wait; for one
    that is suspended also 3: it was to be cancelled, and has still to be ended.
    """

    def __init__(
        self, redis: Redis, worker: str, on_delivered: Callable[[Claim, int], None]
    ) -> None:
        self._redis = redis
        self._worker = worker
        self._on_delivered = on_delivered
        self._waiting: deque[EventEntry | GivenBack] = deque()
        self._something = asyncio.Event()

    def send(self, entries: Sequence[EventEntry]) -> None:
        """Take events."""
        self._waiting.extend(entries)
        self._something.set()

    def finish(self, delivery: GivenBack) -> None:
        """Take the end of a claim; events of its run that were taken before go before."""
        self._waiting.append(delivery)
        self._something.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._something.wait()
            batch = [self._waiting[index] for index in range(min(len(self._waiting), _MAX_BATCH))]
            try:
                replies = await self._send_batch(batch)
            except (RedisError, OSError) as error:
                log = structlog.get_logger(__name__)
                log.warning("redis_away", waiting=len(self._waiting), error=type(error).__name__)
                await asyncio.sleep(_PAUSE_S)
                continue
            for _ in batch:
                self._waiting.popleft()
            refused = self._answered(batch, replies)
            self._waiting.extendleft(reversed(refused))
            if not self._waiting:
                self._something.clear()
            if refused:
                await asyncio.sleep(_PAUSE_S)

    async def _send_batch(self, batch: Sequence[EventEntry | GivenBack]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for one in batch:
            if isinstance(one, GivenBack):
                script, args = self._script(one)
                pipeline.evalsha(script.sha1, 0, *args)
            else:
                key, kind, data = one
                pipeline.xadd(key, {"type": kind, "data": data}, maxlen=MAX_EVENTS, nomkstream=True)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        for index, reply in enumerate(replies):
            one = batch[index]
            if isinstance(reply, NoScriptError) and isinstance(one, GivenBack):
                script, args = self._script(one)
                replies[index] = await script.run_async(self._redis, args)
        return replies

    def _answered(
        self, batch: Sequence[EventEntry | GivenBack], replies: Sequence[Any]
    ) -> list[EventEntry | GivenBack]:
        again: list[EventEntry | GivenBack] = []
        dropped = 0
        for one, reply in zip(batch, replies, strict=True):
            if takes_no_writes(reply):
                # Who watches misses an event; the whole output is in the run's record.
                if isinstance(one, GivenBack):
                    again.append(one)
                else:
                    dropped += 1
                continue
            if isinstance(reply, RedisError):
                structlog.get_logger(__name__).error("redis_refused", error=str(reply)[:200])
            if isinstance(one, GivenBack):
                # An end refused for any other reason leaves its lease to run out, so that the run
                # is lost rather than never ended.
                known = isinstance(reply, int) and not isinstance(one, LetGo)
                code = reply if known else 0
                self._on_delivered(one.claim, code)
        if again or dropped:
            log = structlog.get_logger(__name__)
            log.warning("redis_takes_no_writes", put_off=len(again), events_dropped=dropped)
        return again

    def _script(self, one: GivenBack) -> tuple[RedisScript, list[Arg]]:
        if isinstance(one, Delivery):
            return load("finish"), self._finish_args(one)
        claim = one.claim
        if isinstance(one, Suspended):
            args: list[Arg] = [claim.queue, claim.run_id, claim.execution, self._worker]
            now_ms = time.time_ns() // 1_000_000
            return load("suspend"), [*args, timestamp(now_ms), *one.written]
        args = [claim.queue, claim.run_id, claim.execution, int(one.fault), int(one.at_once)]
        return load("let_go"), [*args, timestamp(time.time_ns() // 1_000_000)]

    def _finish_args(self, delivery: Delivery) -> list[Arg]:
        claim = delivery.claim
        now_ms = time.time_ns() // 1_000_000
        seconds = max(0.0, now_ms / 1000 - float(claim.started))
        args: list[Arg] = [claim.queue, claim.run_id, claim.execution, self._worker]
        args += [delivery.how, delivery.value, timestamp(now_ms), claim.started, f"{seconds:.6f}"]
        return [*args, *(delivery.written or ("", "", ""))]


def deliver_ending(claim: Claim, ending: Ending) -> Delivery:
    """
    Say how a run ended, to its record and to RQ.

    Raises:
        TypeError: something in the ending has no JSON form.
    """
    body = tape_body(ending, claim.attempt, versions())
    written = (ending.state, ending.reason, body, *record_fields(ending))
    return Delivery(claim, *rq_words(claim.run_id, ending.reason, _message(ending)), written)


def deliver_suspension(claim: Claim, suspension: Suspension) -> Suspended:
    """
    Say what a run waits for.

    Raises:
        TypeError: something in it has no JSON form.
    """
    tenant = claim.spec.tenant if claim.spec is not None else None
    asked = [one for one in suspension.waits if one.question is not None]
    questions: list[Arg] = []
    for one in asked:
        questions += [one.seq, question_json(one), asked_leaf(claim.run_id, tenant or "", one)]
    written: tuple[Arg, ...] = (
        suspension.due_ms,
        waits_json(suspension.waits),
        orjson.dumps(list(suspension.calls)) if suspension.calls else "",
        suspension.output,
        usage_json(suspension.usage),
    )
    return Suspended(claim, (*written, *questions))


def deliver_settled(claim: Claim, reason: Reason) -> Delivery:
    """Give RQ the outcome that the run has had before; nothing was executed."""
    message = "this run ended before and is not executed again"
    return Delivery(claim, *rq_words(claim.run_id, reason, message))


def deliver_refusal(claim: Claim, message: str) -> Delivery:
    """Fail a job that is none of ours."""
    return Delivery(claim, "failed", failure_value(message))


def rq_words(run_id: str, reason: Reason, message: str) -> tuple[str, bytes]:
    """
    Give RQ's status of a job whose run ended for `reason`, and the value RQ stores.

    A script's own failure is no failure of the job: the job did what it is for.
    """
    if reason in OUR_FAULT:
        return "failed", failure_value(f"{reason}: {message}")
    if reason is Reason.CANCELLED:
        return "stopped", failure_value(f"{reason}: {message}")
    return "finished", b64encode(orjson.dumps({"run": run_id, "reason": reason}))


def failure_value(text: str) -> bytes:
    """Encode a failure's text as RQ stores it."""
    return b64encode(zlib.compress(text.encode()))


def _message(ending: Ending) -> str:
    return ending.error.message if ending.error else ""
