"""
Tell a container's health check whether a worker of this host shows signs of life in Redis.

Run as `python -m moonsand.worker_health`: exit code 0 if so, else 1 with one line on stderr.
"""

from __future__ import annotations

import socket
import sys
from datetime import UTC, datetime
from typing import Any

import redis

from core.errors import ServiceError
from core.redis_client import connect
from core.settings import load_settings

_WORKERS = "rq:workers"
_SILENCE_S = 90


def is_alive(client: redis.Redis, host: str) -> bool:
    """Tell whether a worker of `host` gave a heartbeat within the last 90 s."""
    names: Any = client.smembers(_WORKERS)
    rows: list[Any] = [client.hmget(name, "hostname", "last_heartbeat") for name in names]
    return any(where == host.encode() and _is_recent(beat) for where, beat in rows)


def main() -> None:
    """Look once and leave."""
    try:
        with connect(load_settings().redis_url or "") as client:
            alive = is_alive(client, socket.gethostname())
    except (ServiceError, redis.RedisError) as error:
        sys.exit(f"cannot tell: {error}")
    sys.exit(None if alive else f"no heartbeat of a worker here for {_SILENCE_S} s")


def _is_recent(beat: bytes | None) -> bool:
    if beat is None:
        return False
    at = datetime.fromisoformat(beat.decode())
    return (datetime.now(UTC) - at.replace(tzinfo=at.tzinfo or UTC)).total_seconds() < _SILENCE_S


if __name__ == "__main__":
    main()
