"""
`Idempotency-Key`: a request that makes something, sent again, gets the answer of the first.

```python
body = await read_model(request, Body)
async with idempotent(request, key) as once:
    if once.replayed is not None:
        return once.replayed
    known = await once.found("sch", partial(store.get, key.tenant))
    if known is not None:
        return once.tell_again(answer(known, 201))
    thing = await store.create(..., id=once.new_id("sch"))
    return once.keep(answer(thing, 201))
```
After a crash `found` gives what the first try had made: its id is the same. Without the header all
of this does nothing.

Runs in: api. Trusts: Redis. Refuses: a key with another request than before; the same request
while it is being answered; keys that are not 1 to 255 visible ASCII characters.
May import: stdlib, fastapi, core, runs, tenancy, api.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import structlog
from fastapi import Request, Response
from redis.exceptions import RedisError

from api.problems import FieldError, InvalidFields
from api.services import services_of
from core.errors import NotFound, Refused
from core.idempotency_key import HEADER, fault_of_key
from core.ids import new_id
from runs.idempotency import LEASE_MS, Answer, Asked, Claim
from runs.store import redis_errors

if TYPE_CHECKING:
    from tenancy.keys import KeyRecord

T = TypeVar("T")

REPLAYED = "Idempotent-Replayed"
_IN_THREAD_BYTES = 256 * 1024
_KEPT_HEADERS = ("location", "retry-after", "preference-applied")


def idempotency_key(request: Request) -> str | None:
    """
    Give the key that a request has; None without one. Quotes around it mean nothing.

    Raises:
        InvalidFields: it came twice, is empty, too long, or not visible ASCII.
    """
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    text = given[0].strip(" \t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    wrong = fault_of_key(text) if len(given) == 1 else "it was sent more than once"
    if wrong is not None:
        raise InvalidFields([FieldError(header=HEADER, detail=wrong)])
    return text


class Once:
    """
    One request, of which the second of its kind learns what the first was told.

    `key` is its Idempotency-Key, if it has one. `replayed` is the answer of the first. A
    `reference` without it names what the first answer told of, with `status`: that answer is not
    kept, and is to be made anew and marked with `replay`.
    """

    def __init__(
        self, key: str | None = None, claim: Claim | None = None, answer: Answer | None = None
    ) -> None:
        self.key = key
        self._claim = claim
        self._kept: tuple[Answer, str] | None = None
        self._made = self._before = False
        self._left = claim is not None and not claim.first
        self.reference = answer.reference if answer else ""
        self.status = answer.status if answer else 0
        self.replayed: Response | None = None
        if answer is not None and not answer.reference:
            self.replayed = self.replay(Response(answer.body, media_type="application/json"))
            self.replayed.status_code = answer.status
            self.replayed.headers.update(answer.headers)

    def new_id(self, prefix: str) -> str:
        """Give the id of what is made: the same when the request is tried again after a crash."""
        return new_id(prefix) if self._claim is None else self._claim.new_id(prefix)

    async def found(self, prefix: str, get: Callable[[str], Awaitable[T]]) -> T | None:
        """
        Give what was made already, by a try that nobody heard of or one whose answer is not kept.

        Raises:
            NotFound: the answer told of it, and it is gone.
        """
        named = self.reference or (self.new_id(prefix) if self._left else "")
        if not named:
            return None
        try:
            return await get(named)
        except NotFound:
            if self.reference:
                raise
            return None

    def tell_again(self, response: Response, *, reference: str = "") -> Response:
        """Give, and keep, an answer that tells of what was made before."""
        self.made(before=True)
        return self.replay(self.keep(response, reference=reference))

    def made(self, *, before: bool = False) -> None:
        """Say that the thing is there now; `before`, that an earlier try had made it."""
        self._made, self._before = True, before

    def replay(self, response: Response) -> Response:
        """Mark an answer as that of an earlier request."""
        response.headers[REPLAYED] = "true"
        return response

    def keep(self, response: Response, *, reference: str = "", run_id: str = "") -> Response:
        """
        Keep a 2xx answer for who asks again, and give it.

        With a `reference` the answer is not kept, because it is long or has a secret in it that is
        shown once: it is to be made anew of what is named. Who erases the run `run_id` erases the
        answer.
        """
        if self._claim is None or response.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            return response
        body = b"" if reference else bytes(response.body)
        headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
        self._kept = Answer(response.status_code, headers, body, reference), run_id
        return self.replay(response) if self._before else response

    async def end(self, error: BaseException | None) -> None:
        """Leave the key as what happened demands; the answer does not depend on it."""
        claim = self._claim
        if claim is None:
            return
        try:
            if error is None and self._kept is not None:
                answer, run_id = self._kept
                await claim.keep(answer, run_id=run_id)
            elif isinstance(error, Refused) and claim.first and not self._made:
                await claim.forget()
            else:
                await claim.let_go()
        except RedisError as why:
            # Its lease ends by itself; who asks again meets the same ids.
            structlog.get_logger(__name__).warning("idempotency_not_kept", error=str(why))


@asynccontextmanager
async def idempotent(request: Request, key: KeyRecord, *, also: str = "") -> AsyncIterator[Once]:
    """
    Answer a request whose body was read once, if it has an `Idempotency-Key`.

    `also` is what it says beside its body and address: another header that matters.

    Raises:
        InvalidFields: the key cannot be one.
        KeyReused: it was used for another request of this tenant to this address.
        InFlight: the same request is being answered.
        Unavailable: Redis did not confirm; nothing was made.
    """
    text = idempotency_key(request)
    if text is None:
        yield Once()
        return
    query = request.url.query
    endpoint = f"{request.method} {request.url.path}" + (f"?{query}" if query else "")
    asked = Asked(key.tenant, endpoint, text, await _digest(also, request.state.body))
    with redis_errors("nothing was made"):
        taken = await Claim.take(services_of(request).redis, asked)
    if isinstance(taken, Answer):
        yield Once(text, answer=taken)
        return
    once = Once(text, taken)
    living = asyncio.create_task(_renew(taken))
    try:
        yield once
    except BaseException as error:
        await asyncio.shield(once.end(error))
        raise
    else:
        await once.end(None)
    finally:
        living.cancel()


async def _digest(also: str, body: bytes) -> bytes:
    def made() -> bytes:
        return hashlib.sha256(hashlib.sha256(also.encode()).digest() + body).digest()

    # Other requests must not wait for a long one.
    return await asyncio.to_thread(made) if len(body) > _IN_THREAD_BYTES else made()


async def _renew(claim: Claim) -> None:
    while True:
        await asyncio.sleep(LEASE_MS / 3_000)
        with suppress(RedisError):
            await claim.renew()
