"""
The duty of telling people that runs have ended.

Runs in: scheduler. Trusts: Redis, for what is due. Refuses: to send what is of another tenant than
its endpoint. May import: stdlib, redis, structlog, core, runs, tenancy, triggers, scheduler.

A delivery is taken for the time of a lease; who dies with it leaves it to the next one, so that
each is sent at least once, always under the same id. Receivers are served side by side: one that is
not quick has one request under way, and waits for nobody but itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson
import structlog
from redis.exceptions import RedisError

from core import keys
from core.clock import Clock, now_ms
from core.errors import Invalid, ServiceError
from integrations.vendor_http import VendorHttp
from runs.redis_scripts import load
from scheduler.callback_attempt import WITHIN_S, Heard, send
from triggers.callback_payload import RUN_FIELDS, Ended, payload
from triggers.callback_store import secrets_of
from triggers.callback_url import UrlPolicy
from triggers.callbacks import Attempt
from triggers.delivery_log import MAX_ATTEMPTS_KEPT
from triggers.trigger_keys import TriggerKeys

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from core.settings import Settings

_S = 1_000
_MINUTE = 60
_HOUR = 3_600
#: Seconds before each attempt after the first, those that Standard Webhooks recommends.
RETRIES_S = (
    *(5, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR),
    *(5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR),
)
#: Up to this part of a pause is added at random, so that what failed together comes apart.
JITTER = 0.2
#: Milliseconds without one delivery after which an endpoint whose deliveries are given up is off.
FAILING_MS = 3 * 86_400 * _S
#: Deliveries under way in one scheduler.
MAX_AT_ONCE = 512
#: Milliseconds after which what a scheduler took and did not end is sent by another.
LEASE_MS = int(2 * WITHIN_S * _S)
#: A receiver that took one in less time gets several at once.
_QUICK_MS = 2_000
_PAUSE_S = 0.25
_FAULT_PAUSE_S = 1.0
_FIELDS = (
    *("tenant", "callback", "kind", "subject", "outcome", "reason"),
    *("at_ms", "facts", "round", "log", "claim"),
)


@dataclass(frozen=True, slots=True)
class _Taken:
    """One delivery in our hands, with what is needed to send it; `endpoint` is empty if gone."""

    id: str
    claim: int
    ended: Ended
    endpoint_id: str
    url: str
    round: int
    log: list[dict[str, Any]]
    endpoint: Mapping[bytes, bytes]
    run: Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is written of an attempt."""

    state: str
    why: str = ""
    next_ms: int = 0
    attempt: Attempt | None = None
    quick: bool = False
    disable: str = ""


class Callbacks:
    """Sends what is due. Owns its connections to receivers; that to Redis is its maker's."""

    name = "callbacks"

    def __init__(  # noqa: PLR0913 (one duty, all named)
        self,
        redis: Redis,
        http: VendorHttp,
        trigger_keys: TriggerKeys,
        policy: UrlPolicy,
        *,
        clock: Clock = now_ms,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self._redis = redis
        self._http = http
        self._keys = trigger_keys
        self._policy = policy
        self._clock = clock
        self._lease_ms = lease_ms
        self._sending: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(__name__)

    async def turn(self) -> float:
        """Send what is due until cancelled; what is under way then is sent again by another."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._rest(await self._take_or_pause(group))
        finally:
            await self._http.close()

    async def _take_or_pause(self, group: asyncio.TaskGroup) -> float:
        try:
            return await self._take(group)
        except (RedisError, OSError) as error:
            # Those under way go on: they may have been received.
            self._log.warning("callbacks_interrupted", error=type(error).__name__)
            return _FAULT_PAUSE_S

    async def _take(self, group: asyncio.TaskGroup) -> float:
        free = MAX_AT_ONCE - len(self._sending)
        if free <= 0:
            return _PAUSE_S
        script = load("callback_claim")
        rest_ms, *taken = await script.run_async(self._redis, [free, self._lease_ms])
        for at in range(0, len(taken), 2):
            task = group.create_task(self._deliver(taken[at].decode(), int(taken[at + 1])))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return min(int(rest_ms) / _S, _PAUSE_S)

    async def _rest(self, seconds: float) -> None:
        # While all places are taken, the end of one is what to wait for.
        if len(self._sending) >= MAX_AT_ONCE:
            await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)

    async def _deliver(self, delivery_id: str, claim: int) -> None:
        try:
            taken = await self._read(delivery_id, claim)
            if taken is not None:
                await self._write(taken, await self._try(taken))
        except (RedisError, OSError) as error:
            # The lease ends, and it is sent again.
            self._log.warning("callback_unwritten", id=delivery_id, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 (one delivery must not end the others)
            self._log.error("callback_broke", id=delivery_id, exc_info=error)

    async def _read(self, delivery_id: str, claim: int) -> _Taken | None:
        row = await cast("Any", self._redis.hmget(keys.delivery(delivery_id), list(_FIELDS)))
        kept: dict[str, bytes | None] = dict(zip(_FIELDS, row, strict=True))
        if kept["claim"] != str(claim).encode():
            return None
        text = {name: (value or b"").decode() for name, value in kept.items()}
        endpoint_id, _, url = text["callback"].partition(" ")
        pipe = cast("Any", self._redis.pipeline(transaction=False))
        pipe.hgetall(keys.callback(endpoint_id))
        pipe.hmget(keys.run(text["subject"]), list(RUN_FIELDS))
        endpoint, run = await pipe.execute()
        return _Taken(
            id=delivery_id,
            claim=claim,
            ended=Ended(
                tenant=text["tenant"],
                kind=text["kind"],
                subject=text["subject"],
                outcome=text["outcome"],
                reason=text["reason"],
                at_ms=int(text["at_ms"]),
                facts=kept["facts"] or b"",
            ),
            endpoint_id=endpoint_id,
            url=url or endpoint.get(b"url", b"").decode(),
            round=int(text["round"]),
            log=orjson.loads(text["log"] or "[]"),
            endpoint=endpoint if endpoint.get(b"tenant") == kept["tenant"] else {},
            run=dict(zip(RUN_FIELDS, run, strict=True)),
        )

    async def _try(self, taken: _Taken) -> _Verdict:
        why = self._why_not(taken)
        if why is not None:
            return _Verdict("failed", why)
        heard = await self._send(taken)
        if heard.delivered:
            quick = heard.attempt.took_ms < _QUICK_MS
            return _Verdict("delivered", attempt=heard.attempt, quick=quick)
        if heard.gone:
            return _Verdict("failed", "gone", attempt=heard.attempt, disable="gone")
        return self._again(taken, heard)

    def _why_not(self, taken: _Taken) -> str | None:
        if not taken.endpoint:
            return "endpoint_deleted"
        if taken.endpoint.get(b"state") != b"enabled":
            return "endpoint_disabled"
        try:
            self._policy.check(taken.url)
        except Invalid:
            return "refused_address"
        return None

    async def _send(self, taken: _Taken) -> Heard:
        now = self._clock()
        try:
            secrets = secrets_of(taken.ended.tenant, taken.endpoint_id, taken.endpoint, self._keys)
        except ServiceError as error:
            self._log.error("callback_secret_closed", id=taken.id, problem=error.detail)
            unsigned = Attempt(at_ms=now, took_ms=0, error="secret_closed")
            return Heard(unsigned, delivered=False)
        body = payload(taken.ended, taken.run)
        return await send(
            self._http, taken.url, body, message_id=taken.id, secrets=secrets, at_ms=now
        )

    def _again(self, taken: _Taken, heard: Heard) -> _Verdict:
        if taken.round >= len(RETRIES_S):
            return _Verdict("failed", "attempts_used", attempt=heard.attempt)
        pause_s = max(pause_before(taken.round), heard.wait_s)
        next_ms = self._clock() + int(pause_s * _S)
        return _Verdict("pending", next_ms=next_ms, attempt=heard.attempt)

    async def _write(self, taken: _Taken, verdict: _Verdict) -> None:
        log = ""
        if verdict.attempt is not None:
            attempts = [*taken.log, verdict.attempt.model_dump(exclude_none=True)]
            log = orjson.dumps(attempts[-MAX_ATTEMPTS_KEPT:]).decode()
        done = await load("callback_done").run_async(
            self._redis,
            [
                *(taken.id, taken.claim, verdict.state, log, verdict.next_ms),
                *(int(verdict.quick), verdict.why, verdict.disable, FAILING_MS),
            ],
        )
        status = verdict.attempt.status if verdict.attempt else None
        self._log.info(
            "callback",
            id=taken.id,
            tenant=taken.ended.tenant,
            state=verdict.state,
            status=status,
            attempt=taken.round + 1,
        )
        if done == 2:
            self._log.warning("callback_endpoint_disabled", id=taken.endpoint_id)


def of_settings(settings: Settings, redis: Redis) -> Callbacks | None:
    """
    Make the duty; None where no trigger key is given: nothing can be signed there.

    Raises:
        Invalid: the trigger keys cannot be used.
    """
    trigger_keys = TriggerKeys.of_settings(settings)
    if trigger_keys is None:
        return None
    http = VendorHttp(max_connections=MAX_AT_ONCE, allow_local=settings.callback_loopback)
    return Callbacks(redis, http, trigger_keys, UrlPolicy.of_settings(settings))


def pause_before(tries: int, spread: float | None = None) -> float:
    """Give the seconds until the next attempt after `tries` + 1 have failed, with jitter."""
    part = random.random() if spread is None else spread  # noqa: S311 (it hides nothing)
    return RETRIES_S[tries] * (1 + JITTER * part)
