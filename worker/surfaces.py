"""
What scripts see of the integrations, kept once by its digest for whoever executes them again.

Runs in: worker. Trusts: Redis. Refuses: a text that is not what its digest says.
May import: ledger, core, sandbox, redis.

A worker writes a surface again only when an hour has passed: a run without calls costs no round
trip for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import RedisError

from core import keys
from core.redis_client import takes_no_writes
from ledger.tape import TapeError, TapeFull
from sandbox.surface import Surface, digest_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Longer than any run can wait and be kept.
KEEP_S = 800 * 86_400
_AGAIN_S = 3_600.0
_MAX_KNOWN = 4_096


class Surfaces(Protocol):
    """Keeps surfaces by their digests."""

    async def keep(self, surface: Surface) -> str:
        """
        Keep a surface and give its digest.

        Raises:
            TapeError: it is not kept; no call may be made that depends on it.
        """
        ...

    async def find(self, sha256: str) -> Surface:
        """
        Give the surface of a digest.

        Raises:
            TapeError: it cannot be had now.
            LookupError: it is not kept any more.
        """
        ...


class MemorySurfaces:
    """Surfaces of this process, for runs without Redis."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}

    async def keep(self, surface: Surface) -> str:
        """Keep a surface and give its digest."""
        self.texts[surface.sha256] = surface.text
        return surface.sha256

    async def find(self, sha256: str) -> Surface:
        """Give the surface of a digest."""
        return Surface.read(self.texts[sha256])


class RedisSurfaces:
    """Surfaces in Redis. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: dict[str, float] = {}

    async def keep(self, surface: Surface) -> str:
        """Keep a surface and give its digest; nothing is sent if it was kept within the hour."""
        sha256 = surface.sha256
        now_s = time.monotonic()
        if self._known.get(sha256, 0.0) > now_s:
            return sha256
        try:
            await self._redis.set(keys.surface(sha256), surface.text, ex=KEEP_S)
        except (RedisError, OSError) as lost:
            if takes_no_writes(lost):
                raise TapeFull("Redis does not take what the script sees now") from lost
            raise TapeError("Redis did not confirm what the script sees") from lost
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[sha256] = now_s + _AGAIN_S
        return sha256

    async def find(self, sha256: str) -> Surface:
        """Give the surface of a digest."""
        try:
            text: Any = await self._redis.get(keys.surface(sha256))
        except (RedisError, OSError) as lost:
            raise TapeError("Redis did not say what the script saw") from lost
        if text is None or digest_of(text) != sha256:
            raise LookupError("what the script saw is not kept any more")
        return Surface.read(text)
