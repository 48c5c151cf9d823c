"""Erasing beside a sequencer at work: who comes back in between costs a try, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import redis

from ledger.archive import Outrun
from ledger.erasing import Erased, Wish
from ledger.sqlite_archive import NAME, SqliteArchive
from tests.archives import true_run, verified
from tests.integration.test_audit_erase import (
    archive_bytes,
    check_good_after_signing,
    erase_in,
)
from tests.sequencing import taking


def test_what_is_archived_while_redis_forgets_is_erased_too(
    redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """The log is read before the sequencer is stopped, and what it took until then afterwards."""
    with taking(redis_sync, tmp_path) as one:
        first = true_run(redis_sync, "acme", word="goner")
        one.drain()
        second = true_run(redis_sync, "acme", word="goner")
        told: list[list[str]] = []

        def elsewhere(erased: Erased) -> None:
            told.append([*erased.runs])
            if len(told) == 1:
                one.drain()  # it is still at work

        assert (
            erase_in(tmp_path, Wish(tenant="acme"), elsewhere) == 18
        )  # they share a script and a surface
    assert told == [[first], [second]]
    assert b"goner" not in archive_bytes(tmp_path)
    check_good_after_signing(redis_sync, tmp_path)


@pytest.mark.parametrize("outruns", [1, 4])
def test_an_erasure_that_is_outrun_is_tried_again(
    redis_sync: redis.Redis, tmp_path: Path, outruns: int
) -> None:
    """A sequencer that comes back before it is written costs it a try and changes nothing else."""
    with taking(redis_sync, tmp_path) as one:
        true_run(redis_sync, "acme", word="goner")
        one.drain()
    tries = _outrunning(tmp_path, outruns)
    assert erase_in(tmp_path, Wish(tenant="acme"), tries) == 10
    assert b"goner" not in archive_bytes(tmp_path)
    check_good_after_signing(redis_sync, tmp_path)


def test_an_erasure_that_is_always_outrun_has_erased_nothing(
    redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """It ends with the reason, no entry tells of it, and a later one does it."""
    with taking(redis_sync, tmp_path) as one:
        true_run(redis_sync, "acme", word="goner")
        one.drain()
    with pytest.raises(Outrun):
        erase_in(tmp_path, Wish(tenant="acme"), _outrunning(tmp_path, 5))
    assert b"goner-input" in archive_bytes(tmp_path)
    _, found = verified(tmp_path)
    assert found == []
    assert erase_in(tmp_path, Wish(tenant="acme")) == 10


def _outrunning(directory: Path, times: int) -> Callable[[Erased], None]:
    """Give an `elsewhere` during which another takes over, in so many tries."""
    calls = 0

    def elsewhere(_: Erased) -> None:
        nonlocal calls
        calls += 1
        if 2 <= calls <= times + 1:  # the first call is before any try
            with closing(SqliteArchive(directory / NAME, write=True)) as other:
                other.take_over()

    return elsewhere
