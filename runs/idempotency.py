"""
Requests that clients send again: one makes what is to be made, the others get its answer.

A key is taken before anything is made, together with the seed of the ids of what will be made.
Whoever comes after a crash makes the same ids and so meets what is there already; what makes a
thing under an id that is known gives the known thing. So a key never makes a second one, wherever
a process dies.

Of a request only a salted MAC is kept, made with the client's key, which is not kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import orjson

from core import keys
from core.errors import InFlight, KeyReused
from core.ids import id_of
from runs.redis_scripts import Arg, load

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEPT_S = 86_400
#: Milliseconds after which somebody who does not renew is taken for dead.
LEASE_MS = 6_000
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """
    An answer as it is kept.

    Without a `body` it is made anew of what `reference` names: it is long, or has a secret in it
    that is shown once.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """
    One request: whose, where it was sent to, the client's key, and a digest of all that it says.

    The digest is kept nowhere.

    Requests of different tenants or to different endpoints have nothing to do with each other.
    """

    tenant: str
    endpoint: str
    key: str
    digest: bytes

    @property
    def name(self) -> str:
        """The name of its record in Redis."""
        both = f"{self.endpoint}\n{self.key}".encode()
        return keys.idempotency(self.tenant, hashlib.sha256(both).hexdigest()[:32])

    def mac(self, salt: bytes) -> str:
        """Give what tells this request from others with the same key."""
        made = hmac.new(salt + self.key.encode(), self.digest, hashlib.sha256)
        return made.hexdigest()


class Claim:
    """
    A key in our hands. `first`: nobody has tried before, so nothing can have been made.

    Every change needs the token: who was taken for dead can change nothing any more.
    """

    def __init__(self, redis: Redis, name: str, seed: str, token: str, *, first: bool) -> None:
        self._redis = redis
        self._name = name
        self._seed = seed
        self._token = token
        self.first = first

    @classmethod
    async def take(cls, redis: Redis, asked: Asked) -> Self | Answer:
        """
        Take the key; or give the answer that is kept for it.

        Raises:
            KeyReused: the key was used for another request.
            InFlight: the same request is being answered.
            RedisError: Redis did not confirm.
        """
        salt, token = secrets.token_bytes(_SALT_BYTES), secrets.token_hex(8)
        seed = f"{time.time_ns() // 1_000_000:x}.{secrets.randbits(80):x}"
        args: list[Arg] = ["begin", asked.name, salt, asked.mac(salt), seed, token]
        known = await _run(redis, *args, LEASE_MS, KEPT_S)
        if known is None:
            return cls(redis, asked.name, seed, token, first=True)
        if not hmac.compare_digest(known[1].decode(), asked.mac(known[0])):
            raise KeyReused(
                "this Idempotency-Key was used for another request",
                hint="send a new key with a new request; the same key only with the same request",
            )
        if known[5] is not None:
            return Answer(int(known[5]), orjson.loads(known[6]), known[7], known[8].decode())
        before = known[3].decode()
        if int(known[4]) > 0 or not await _run(redis, "take", asked.name, before, token, LEASE_MS):
            raise InFlight(
                "a request with this Idempotency-Key is being answered at the moment",
                retry_after_s=1,
                hint="send it again: you will get the answer of the first",
            )
        return cls(redis, asked.name, known[2].decode(), token, first=False)

    def new_id(self, prefix: str) -> str:
        """Give the id of what is to be made: the same whenever this request is tried again."""
        stamp, _, rest = self._seed.partition(".")
        return id_of(prefix, int(stamp, 16), int(rest, 16))

    async def renew(self) -> None:
        """Say that we live."""
        await _run(self._redis, "renew", self._name, self._token, LEASE_MS)

    async def keep(self, answer: Answer, *, run_id: str = "") -> None:
        """Keep the answer for `KEPT_S`; it goes with the run `run_id` if that is erased."""
        headers = orjson.dumps(answer.headers)
        args: list[Arg] = [self._name, self._token, KEPT_S, answer.status, headers]
        await _run(self._redis, "keep", *args, answer.body, answer.reference, run_id)

    async def let_go(self) -> None:
        """Let the next one try at once: what was to be made may be there."""
        await _run(self._redis, "let_go", self._name, self._token)

    async def forget(self) -> None:
        """Free the key: nothing was made."""
        await _run(self._redis, "forget", self._name, self._token)


async def _run(redis: Redis, *args: Arg) -> Any:
    return await load("idempotency").run_async(redis, list(args))
