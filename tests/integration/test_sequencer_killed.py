"""A sequencer killed with signal 9 at every boundary: no gap, no duplicate, nothing unsigned."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from core import keys
from ledger.leaves import read_leaf
from tenancy.master_keys import MasterKeys
from tests.killed_sequencer import BOUNDARIES, MASTER
from tests.sequencing import check_archive, ended_run, plain, taking

ROOT = Path(__file__).parents[2]


def expected(client: redis.Redis) -> list[tuple[Any, Any]]:
    """Give kind and subject of the leaf that each entry of the inbox has to become, in order."""
    rows: Any = client.xrange(keys.LEDGER_INBOX)
    found = []
    for _, fields in rows:
        if b"leaf" in fields:
            read = read_leaf(fields[b"leaf"])
            found.append((read["kind"], read["id"]))
        else:
            found.append((fields[b"kind"].decode(), fields[b"run"].decode()))
    return found


def run_until_killed(url: str, directory: Path, boundary: str, when: str, nth: int) -> None:
    """Start a sequencer and wait for its death."""
    command = [sys.executable, "-m", "tests.killed_sequencer", url, str(directory)]
    done = subprocess.run([*command, boundary, when, str(nth)], cwd=ROOT, timeout=40, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_killed_there_it_goes_on_without_gap_or_duplicate(
    redis_url: str, redis_sync: redis.Redis, tmp_path: Path, boundary: str, when: str
) -> None:
    """Whether the step was done or not when it died, each entry becomes exactly one leaf."""
    for tenant in ("acme", "other"):
        ended_run(redis_sync, tenant, calls=10, reply="x" * 500)
    plain(redis_sync, 9)
    ended_run(redis_sync)
    wanted = expected(redis_sync)
    nth = 1 if boundary == "take_over" else 2

    run_until_killed(redis_url, tmp_path, boundary, when, nth)
    redis_sync.delete(keys.LEDGER_LOCK)  # instead of waiting for its end
    with taking(redis_sync, tmp_path, MasterKeys.parse(MASTER)) as one:
        one.drain()
        check_archive(one.archive)
        assert [(leaf["kind"], leaf["id"]) for leaf in one.leaves()] == wanted
        tapes = [leaf["tape"] for leaf in one.leaves() if leaf["kind"] == "run.finished"]
        assert [tape["entries"] for tape in tapes] == [23, 23, 5]
        signed = one.archive.checkpoint()
        assert signed is not None
        assert signed.split("\n")[1] == str(len(wanted))
    assert redis_sync.xlen(keys.LEDGER_INBOX) == 0
