"""A real Redis that is full, and has room again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from core.redis_client import connect


@contextmanager
def full(url: str) -> Iterator[None]:
    """Leave Redis no memory while the block lasts."""
    with connect(url) as client:
        fill(client)
        try:
            yield
        finally:
            make_room(client)


def fill(client: redis.Redis) -> None:
    """Leave Redis no memory: with `noeviction` it refuses what could take more."""
    client.config_set("maxmemory", "1mb")  # an empty server has more already
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("ms:probe-of-a-test", "x")


def make_room(client: redis.Redis) -> None:
    """Give it memory without end again."""
    client.config_set("maxmemory", 0)
