"""
Tell a container's health check whether a scheduler of this host shows signs of life in Redis.

Run as `python -m moonsand.scheduler_health`: exit code 0 if so, else 1 with one line on stderr.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import redis

from core import keys
from core.clock import now_ms
from core.errors import ServiceError
from core.redis_client import connect
from core.settings import load_settings
from scheduler.beat import SILENCE_MS


def is_alive(client: redis.Redis, host: str) -> bool:
    """Tell whether a scheduler of `host` said so within the last 30 s."""
    names: Any = client.zrangebyscore(keys.SCHEDULERS, now_ms() - SILENCE_MS, "+inf")
    return any(name.decode().startswith(f"{host}-") for name in names)


def main() -> None:
    """Look once and leave."""
    try:
        with connect(load_settings().redis_url or "") as client:
            alive = is_alive(client, socket.gethostname())
    except (ServiceError, redis.RedisError) as error:
        sys.exit(f"cannot tell: {error}")
    sys.exit(None if alive else f"no sign of a scheduler here for {SILENCE_MS // 1000} s")


if __name__ == "__main__":
    main()
