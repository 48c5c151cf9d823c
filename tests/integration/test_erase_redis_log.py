"""Redis's own append-only file after an erasure: it is written anew, or somebody is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from core.errors import Unavailable
from core.redis_client import connect
from core.redis_server import PrivateRedis
from runs.erasing import rewrite_log
from tests.deadline import Deadline

SECRET = "goner"


@pytest.fixture
def filed(tmp_path: Path) -> Iterator[tuple[redis.Redis, Path]]:
    """A Redis of its own with the directory of its files, in which words can be read."""
    with PrivateRedis(tmp_path) as server, connect(server.url) as client:
        client.config_set("rdbcompression", "no")
        yield client, tmp_path


def log_bytes(home: Path) -> bytes:
    """Give what stands in all parts of the append-only file; Redis may remove old ones."""
    found = []
    for file in home.rglob("*.aof*"):
        with suppress(OSError):
            found.append(file.read_bytes())
    return b"".join(found)


def test_what_was_deleted_is_in_no_file_of_redis(filed: tuple[redis.Redis, Path]) -> None:
    """It stood there, and does no more."""
    client, home = filed
    client.set("key", SECRET)
    Deadline().until(lambda: SECRET.encode() in log_bytes(home), "the word on the disk")
    client.delete("key")
    rewrite_log(client, "done")
    Deadline().until(lambda: SECRET.encode() not in log_bytes(home), "the new file")


def test_a_file_begun_before_the_deletion_is_followed_by_another(
    filed: tuple[redis.Redis, Path],
) -> None:
    """The one that Redis is at holds what was deleted since: it is waited for."""
    client, home = filed
    for number in range(5):
        client.set(f"key{number}", SECRET)
    client.config_set("rdb-key-save-delay", 200_000)  # microseconds a key
    client.bgrewriteaof()
    client.config_set("rdb-key-save-delay", 0)
    client.flushall()
    client.config_resetstat()
    rewrite_log(client, "done")
    assert client.info("commandstats")["cmdstat_bgrewriteaof"]["failed_calls"] > 0
    Deadline().until(lambda: SECRET.encode() not in log_bytes(home), "the new file")


def test_a_redis_that_cannot_write_it_anew_is_told_of(filed: tuple[redis.Redis, Path]) -> None:
    """The old file may hold what was deleted: that is no success."""
    client, home = filed
    (directory,) = {file.parent for file in home.rglob("*.aof*")}
    away = directory.with_name("away")
    directory.rename(away)
    try:
        directory.write_text("no directory")
        with pytest.raises(Unavailable, match="erased 3; but Redis does not write"):
            rewrite_log(client, "erased 3")
    finally:
        directory.unlink()
        away.rename(directory)


def test_a_redis_without_such_a_file_is_given_none(filed: tuple[redis.Redis, Path]) -> None:
    """What is in its memory alone stays there."""
    client, home = filed
    client.config_set("appendonly", "no")
    before = sorted((home / "appendonlydir").iterdir())
    client.config_resetstat()
    rewrite_log(client, "done")
    assert "cmdstat_bgrewriteaof" not in client.info("commandstats")
    assert sorted((home / "appendonlydir").iterdir()) == before


def test_a_redis_that_lets_nobody_ask_is_left_alone(filed: tuple[redis.Redis, Path]) -> None:
    """A managed Redis has no such command for its users; its files are its owner's."""
    client, _ = filed
    client.acl_setuser("default", commands=["-bgrewriteaof"])
    client.config_resetstat()
    rewrite_log(client, "done")
    stats = client.info("commandstats")
    assert stats["cmdstat_bgrewriteaof"]["rejected_calls"] == 1
