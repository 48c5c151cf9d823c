"""
What this worker knows that Redis may have lost: the write intents of the last seconds.

Runs in: worker. Trusts: its own memory. Refuses: nothing.
May import: core, ledger, runs, redis.

With `appendfsync everysec` a Redis whose host fails comes back without its last second, and so does
a replica that takes over. An intent in that second is lost while what it announced was sent. After
a restart nobody claims for a few seconds (see the CLAIM script); in this time every worker that
lives says which write intents it had written, and a run that lacks one is marked: it is not
executed again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from core.calls import EffectClass
from ledger.tape import Kind
from runs.redis_scripts import load

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from ledger.tape import Entry

#: Seconds between two looks whether Redis is still the same server.
LOOK_S = 1.0
#: Seconds after which what was written is on disk, `everysec` and a slow disk allowed for.
KEPT_S = 15.0


class Witness:
    """Remembers write intents, and tells a Redis that was restarted of those it lacks."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._written: deque[tuple[float, str, int]] = deque()
        self._server: str | None = None

    def note(self, run_id: str, entry: Entry) -> None:
        """Remember an entry that Redis has confirmed, if it is the intent of a write."""
        if entry.kind is Kind.INTENT and entry.body["effect_class"] == EffectClass.WRITE.value:
            self._written.append((time.monotonic(), run_id, entry.seq))

    async def run(self) -> None:
        """Look for ever."""
        while True:
            with suppress(RedisError, OSError):  # what was written is remembered meanwhile
                await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """
        Look once, and tell what is to be told.

        Raises:
            RedisError: Redis does not answer.
        """
        began_s = time.monotonic()
        info: Any = await self._redis.info("server")
        server = str(info["run_id"])
        if self._server is not None and server != self._server:
            await self._tell()
        self._server = server
        while self._written and self._written[0][0] < began_s - KEPT_S:
            self._written.popleft()

    async def _tell(self) -> None:
        known = [part for _, run_id, seq in self._written for part in (run_id, seq)]
        lost: Any = await load("witness").run_async(self._redis, known)
        log = structlog.get_logger(__name__)
        log.warning("redis_restarted", intents=len(self._written), lost=len(lost))
        for run_id in lost:
            log.error("tape_lost", run=run_id.decode())
