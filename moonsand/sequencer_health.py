"""
Tell a container's health check whether a sequencer is at work and keeps up.

Run as `python -m moonsand.sequencer_health`: exit code 0 if so, else 1 with one line on stderr.
A second sequencer that rests is as healthy as the one that works.
"""

from __future__ import annotations

import sys
from typing import Any

import redis

from core import keys
from core.errors import ServiceError
from core.redis_client import connect
from core.settings import load_settings


def complaint(client: redis.Redis, inbox_max: int) -> str | None:
    """Give what is wrong, None when nothing is."""
    if not client.exists(keys.LEDGER_LOCK):
        return "no sequencer is at work"
    waiting: Any = client.xlen(keys.LEDGER_INBOX)
    return f"{waiting} entries wait: no run is accepted" if waiting >= inbox_max else None


def main() -> None:
    """Look once and leave."""
    try:
        settings = load_settings()
        with connect(settings.redis_url or "") as client:
            found = complaint(client, settings.ledger_inbox_max)
    except (ServiceError, redis.RedisError) as error:
        sys.exit(f"cannot tell: {error}")
    sys.exit(found)


if __name__ == "__main__":
    main()
