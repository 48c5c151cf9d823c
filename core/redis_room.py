"""
Writes that have to pass when Redis is full, because nothing makes room before they are done.

A full Redis refuses a script only at its first write, and never a deletion: a script that begins
with one passes whole. It works alike on Redis 6.2 and later and on Valkey. Whatever *begins*
something must not use it.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from redis.lock import Lock

from core import keys

if TYPE_CHECKING:
    import redis

_PASS = f"redis.call('DEL', '{keys.NOTHING}')\n"
_SET = _PASS + "redis.call('SET', KEYS[1], ARGV[1])"
_TAKE_AWAY = _PASS + "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"
_TAKE = _PASS + "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0"


def set_text(client: redis.Redis, key: str, text: str) -> None:
    """
    Set a text, also when Redis is full.

    Raises:
        RedisError: Redis does not answer, or takes no writes for another reason.
    """
    client.eval(_SET, 1, key, text)


class RoomLock(Lock):
    """A lock that can be taken when Redis is full; it must have a timeout."""

    def do_acquire(self, token: str) -> bool:
        """Take it if nobody has it."""
        assert self.timeout is not None  # noqa: S101 (a lock that nobody renews has to end)
        return bool(self.redis.eval(_TAKE, 1, self.name, token, int(self.timeout * 1000)))

    def take_away(self) -> None:
        """
        Take it whoever has it: that one finds out when it renews or lets go.

        Raises:
            RedisError: Redis does not answer.
        """
        assert self.timeout is not None  # noqa: S101 (as above)
        token = uuid.uuid4().hex.encode()
        self.redis.eval(_TAKE_AWAY, 1, self.name, token, int(self.timeout * 1000))
        self.local.token = token
