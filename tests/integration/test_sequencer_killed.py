"""A sequencer killed with signal 9 at every boundary: no gap, no duplicate, nothing unsigned."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from core import keys
from ledger.journal import entry_name, read_entry
from ledger.leaves import read_leaf
from ledger.objects import DirectoryStore
from tenancy.master_keys import MasterKeys
from tests import warm
from tests.archive_kinds import IN_BUCKET, SQLITE, Place, place_of
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


@pytest.fixture(params=[SQLITE, IN_BUCKET])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """An empty archive; each write of one in a directory is killed below."""
    with place_of(request.param, tmp_path, monkeypatch) as made:
        yield made


def run_until_killed(url: str, place: Place, boundary: str, when: str, nth: int) -> None:
    """Start a sequencer and wait for its death."""
    where = [str(place.directory), place.objects]
    death = (boundary, when, str(nth))
    process = warm.start("tests.killed_sequencer", url, *where, *death, env=os.environ)
    try:
        assert process.wait(40) == -signal.SIGKILL
    finally:
        process.kill()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_killed_there_it_goes_on_without_gap_or_duplicate(
    redis_url: str, redis_sync: redis.Redis, place: Place, boundary: str, when: str
) -> None:
    """Whether the step was done or not when it died, each entry becomes exactly one leaf."""
    nth = 1 if boundary == "take_over" else 2
    _kill_and_go_on(redis_url, redis_sync, place, (boundary, when, nth))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("write", "nth"),
    [("create", nth) for nth in range(1, 8)]
    + [("create_all", nth) for nth in range(1, 7)]
    + [("replace", 1)],
)
def test_killed_at_any_write_of_an_object_it_goes_on(  # noqa: PLR0917
    redis_url: str, redis_sync: redis.Redis, tmp_path: Path, write: str, nth: int, when: str
) -> None:
    """No order of objects leaves a half that a restart takes for a whole, or takes twice."""
    place = Place(tmp_path, str(tmp_path / "objects"))
    _kill_and_go_on(redis_url, redis_sync, place, (write, when, nth))
    store = DirectoryStore(Path(place.objects))
    named = _payload_objects(place)
    assert set(store.names("payloads/")) == named
    store.close()


def _payload_objects(place: Place) -> set[str]:
    """Give the objects of payloads that the journal names."""
    names: set[str] = set()
    number = 0
    root = Path(place.objects)
    while (path := root / entry_name(number)).exists():
        body = read_entry(path.read_bytes()).body
        names |= {one["object"] for one in body.get("payloads", [])}
        number += 1
    return {name for name in names if (root / name).exists()}


def _kill_and_go_on(
    redis_url: str, redis_sync: redis.Redis, place: Place, death: tuple[str, str, int]
) -> None:
    """Let a sequencer die while it takes some runs, and another do the rest."""
    for tenant in ("acme", "other"):
        ended_run(redis_sync, tenant, calls=10, reply="x" * 500)
    plain(redis_sync, 9)
    ended_run(redis_sync)
    wanted = expected(redis_sync)

    run_until_killed(redis_url, place, *death)
    redis_sync.delete(keys.LEDGER_LOCK)  # instead of waiting for its end
    with taking(redis_sync, place, MasterKeys.parse(MASTER)) as one:
        one.drain()
        check_archive(one.archive)
        assert [(leaf["kind"], leaf["id"]) for leaf in one.leaves()] == wanted
        tapes = [leaf["tape"] for leaf in one.leaves() if leaf["kind"] == "run.finished"]
        assert [tape["entries"] for tape in tapes] == [23, 23, 5]
        signed = one.archive.checkpoint()
        assert signed is not None
        assert signed.split("\n")[1] == str(len(wanted))
    assert redis_sync.xlen(keys.LEDGER_INBOX) == 0
