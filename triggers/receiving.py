"""
The door for events: a signature is the key, and each event starts one run.

Runs in: api. Trusts: nothing in a request until its signature was checked. Refuses: what the
scheme refuses; events of hooks that are off; events that were taken before. May import: stdlib,
redis, core, runs, triggers.

Which run an event starts is decided once, by the first that brings it, and the run is accepted
under that id: brought again, at the same moment, after a crash or days later, it starts nothing
more. An event is known for `KNOWN_S`.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError

from core.clock import Clock, now_ms
from core.errors import Conflict, Forbidden, Invalid, NotFound, ServiceError
from core.ids import new_id
from runs.origin import Origin, OriginKind
from runs.redis_scripts import Arg, load
from runs.store import ID_PREFIX as RUN
from runs.store import redis_errors
from triggers.event_body import read_event
from triggers.hook_store import HookStore, OpenHook
from triggers.starting import Starter
from triggers.trigger_keys import TriggerKeys, needed
from triggers.verification import schemes, slack
from triggers.verification.delivery import Delivery
from triggers.verification.schemes import Scheme

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Seconds for which an event is known again; longer than any sender repeats one by itself.
KNOWN_S = 7 * 86_400
#: Longest body of an event.
MAX_EVENT_BYTES = 1024 * 1024
_IN_THREAD_BYTES = 64 * 1024
_DIGEST_CHARS = 32
_MAX_WORDS = 200


@dataclass(frozen=True, slots=True)
class Received:
    """
    What became of an event: the run that it started, now or, `repeated`, before.

    `challenge` is what the sender wants to hear instead, when it only tries the address.
    """

    run: str | None = None
    repeated: bool = False
    challenge: str | None = None


class CannotStart(Conflict):
    """The hook is set up so that it starts nothing. `why` is for its owner, not for the sender."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "this hook cannot start its script as it is set up", hint="its owner sees why"
        )
        self.why = why


class Receiving:
    """Takes events. Owns nothing; the connection is its maker's."""

    def __init__(
        self,
        redis: Redis,
        starter: Starter,
        trigger_keys: TriggerKeys | None,
        clock: Clock = now_ms,
    ) -> None:
        self._redis = redis
        self._starter = starter
        self._hooks = HookStore(redis, trigger_keys, clock)
        self._keys = trigger_keys
        self._clock = clock

    async def open(self, hook_id: str) -> OpenHook:
        """
        Give a hook, whoever's it is; `receive` takes an event of it.

        Raises:
            NotFound: there is none with this id. Unavailable: Redis does not answer.
        """
        return await self._hooks.open(hook_id)

    async def receive(self, opened: OpenHook, delivery: Delivery) -> Received:
        """
        Check an event and start its run.

        Raises:
            SignatureRefused: it was not signed by the hook's sender.
            Conflict: the hook is off, or cannot start its script.
            Invalid, TooLarge: the body cannot be the script's input.
            QuotaExceeded: the tenant may start no more runs now.
            Unavailable: Redis did not confirm; sent again it starts one run at most.
        """
        hook_id = opened.hook.id
        try:
            received = await self._received(opened, delivery)
        except ServiceError as error:
            words = error.why if isinstance(error, CannotStart) else error.detail
            await self._count(hook_id, "n_refused", words)
            raise
        if received.challenge is None:
            counter = "n_repeated" if received.repeated else "n_started"
            await self._count(hook_id, counter, "")
        return received

    async def _received(self, opened: OpenHook, delivery: Delivery) -> Received:
        hook = opened.hook
        schemes.verify(
            hook.scheme,
            delivery,
            opened.sealed.opened(needed(self._keys)),
            now_s=self._clock() / 1000,
            tolerance_s=hook.tolerance_s,
            form=hook.form,
        )
        content_type = delivery.optional_header("content-type") or ""
        if len(delivery.body) > _IN_THREAD_BYTES:
            body = await asyncio.to_thread(read_event, delivery.body, content_type)
        else:
            body = read_event(delivery.body, content_type)
        if hook.scheme is Scheme.SLACK:
            challenge = slack.challenge_of(body.data)
            if challenge is not None:
                return Received(challenge=challenge)
        if not hook.enabled:
            raise Conflict("this hook is switched off")
        event_id = schemes.event_id(hook.scheme, delivery, body.data, hook.event_id)
        plain = body.data if body.text is None else body.text
        event = {
            "id": event_id,
            "type": schemes.event_type(hook.scheme, delivery, body.data),
            "hook": hook.id,
            "received_ms": self._clock(),
            "data": body.data,
            **({} if body.text is None else {"text": body.text}),
        }
        return await self._started(opened, event_id, event if hook.input == "event" else plain)

    async def _started(self, opened: OpenHook, event_id: str, value: Any) -> Received:
        digest = hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()
        digest = digest[:_DIGEST_CHARS]
        run_id = new_id(RUN, now_ms=self._clock())
        known = await self._event(opened.hook.id, digest, run_id, started=False)
        if known is not None:
            started, _, run_id = known.decode().partition(" ")
            if started == "1":
                return Received(run_id, repeated=True)
        await self._start(opened, value, run_id)
        await self._event(opened.hook.id, digest, run_id, started=True)
        return Received(run_id)

    async def _start(self, opened: OpenHook, value: Any, run_id: str) -> None:
        hook, owner = opened.hook, opened.owner
        try:
            await self._starter.start(
                opened.tenant,
                hook.script_ref,
                value,
                origin=Origin(kind=OriginKind.HOOK, id=hook.id),
                key_id=owner.key_id,
                key_tenant=owner.key_tenant,
                run_id=run_id,
                priority=hook.priority,
                callback=hook.callback,
            )
        except (Forbidden, NotFound) as error:
            raise CannotStart(error.detail) from None
        except Invalid as error:
            if error.pointer == "/script_ref":
                raise CannotStart(error.detail) from None
            raise

    async def _event(
        self, hook_id: str, digest: str, run_id: str, *, started: bool
    ) -> bytes | None:
        args: list[Arg] = [hook_id, digest, run_id, KNOWN_S, int(started)]
        with redis_errors("sent again it starts one run at most"):
            return cast("bytes | None", await load("hook_event").run_async(self._redis, args))

    async def _count(self, hook_id: str, counter: str, words: str) -> None:
        args: list[Arg] = [hook_id, counter, self._clock(), words[:_MAX_WORDS]]
        with suppress(RedisError, OSError):  # it is only told to who looks at the hook
            await load("hook_count").run_async(self._redis, args)
