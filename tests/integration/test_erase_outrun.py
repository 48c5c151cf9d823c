"""Erasing beside a sequencer at work: who comes back in between costs a try, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from core import keys
from ledger import lock
from ledger.archive import Erasing, NewLeaf, Outrun
from ledger.erasing import Erased, Wish, erase
from ledger.journal_view import JournalView
from ledger.lock import LOCK_S, sequencers_at_rest
from ledger.object_archive import ObjectArchive
from ledger.objects import DirectoryStore
from ledger.packs import Moved
from ledger.sqlite_archive import NAME, SqliteArchive
from moonsand.erasing import erase_payloads
from tests.archive_kinds import Place
from tests.archives import true_run, verified
from tests.deadline import Deadline
from tests.integration.test_audit_erase import (
    archive_bytes,
    check_good_after_signing,
    erase_in,
)
from tests.integration.test_object_packs import fill, packs
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

        # Of twice ten: they share a script and a surface.
        assert erase_in(tmp_path, Wish(tenant="acme"), elsewhere) == 18
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


def test_sequencers_rest_while_somebody_erases(redis_sync: redis.Redis, tmp_path: Path) -> None:
    """Who is at work is outrun, nobody begins until it is over, and then somebody does at once."""
    with taking(redis_sync, tmp_path) as one:
        with sequencers_at_rest(redis_sync):
            one.sequencer._renew_at = 0.0
            with pytest.raises(Outrun):
                one.sequencer._renew()
            assert not one.sequencer.take_over()
        assert one.sequencer.take_over()


def test_a_rest_lasts_as_long_as_the_work(
    redis_sync: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is renewed in time; one that was lost meanwhile is nobody's to delete."""
    waits: list[float | None] = []

    class Hurried(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            return super().wait(0.01)

    hurried = SimpleNamespace(Event=Hurried, Thread=threading.Thread)
    monkeypatch.setattr(lock, "threading", hurried)
    most_ms = LOCK_S * 1000
    with sequencers_at_rest(redis_sync):
        token = redis_sync.get(keys.LEDGER_LOCK)
        for _ in range(3):
            redis_sync.pexpire(keys.LEDGER_LOCK, 600_000)  # a renewal makes it shorter
            Deadline().until(lambda: 0 < redis_sync.pttl(keys.LEDGER_LOCK) <= most_ms, "a renewal")
        assert redis_sync.get(keys.LEDGER_LOCK) == token
    assert all(one is not None and one <= LOCK_S / 2 for one in waits)
    assert redis_sync.get(keys.LEDGER_LOCK) is None
    with sequencers_at_rest(redis_sync):
        redis_sync.set(keys.LEDGER_LOCK, "another")
    assert redis_sync.get(keys.LEDGER_LOCK) == b"another"


def test_the_command_keeps_a_sequencer_from_coming_back(
    redis_url: str, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """While it erases none begins; afterwards one does."""
    taken: list[bool] = []
    with taking(redis_sync, tmp_path) as one:
        true_run(redis_sync, "acme", word="goner")
        one.drain()

        class Watched(SqliteArchive):
            def erase(self, epoch: int, leaf: NewLeaf, erasing: Erasing) -> int:
                taken.append(one.sequencer.take_over())
                return super().erase(epoch, leaf, erasing)

        archive = Watched(tmp_path / NAME, write=True)
        told, complete = erase_payloads(Wish(tenant="acme"), archive, redis_url)
        assert (told, complete) == ("erased 10 payloads of 1 runs", True)
        assert taken == [False]
        assert one.sequencer.take_over()


def test_objects_put_for_an_erasure_that_was_outrun_are_removed(
    redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """They hold what stays, of other tenants too; nobody else would find them later."""
    place = Place(tmp_path, str(tmp_path / "objects"))
    run, *_ = fill(redis_sync, place)
    before = packs(place)
    with closing(Outstripped(Path(place.objects), times=10)) as archive:
        with pytest.raises(Outrun):
            erase(archive, Wish(run=run), 5_000, lambda _: None)
        assert archive.put > 0
    assert packs(place) == before


def test_an_erasure_beside_another_is_tried_again(redis_sync: redis.Redis, tmp_path: Path) -> None:
    """What the other has erased meanwhile is no damage of the archive."""
    place = Place(tmp_path, str(tmp_path / "objects"))
    run, other, _ = fill(redis_sync, place)
    with closing(Outstripped(Path(place.objects), times=1)) as archive:
        archive.wish = Wish(run=other)
        erase(archive, Wish(run=run), 5_000, lambda _: None)
    assert not [data for data in packs(place).values() if b"acme0-input" in data]
    assert verified(Path(place.objects))[1] == []


class Outstripped(ObjectArchive):
    """An archive of objects that others take over, or erase in, just when it moves what stays."""

    def __init__(self, root: Path, *, times: int) -> None:
        super().__init__(DirectoryStore(root), JournalView())
        self._root = root
        self.wish: Wish | None = None
        self.put = 0
        self._left = times

    def _move(self, epoch: int, erasing: Mapping[str, Any]) -> Iterator[Moved]:
        for moved in super()._move(epoch, erasing) if self.wish is None else ():
            self.put += 1
            self._others()
            yield moved
        if self.wish is not None:
            self._others()
            yield from super()._move(epoch, erasing)

    def _others(self) -> None:
        if not self._left:
            return
        self._left -= 1
        with closing(ObjectArchive(DirectoryStore(self._root), JournalView())) as other:
            if self.wish is None:
                other.take_over()
                other.take_over()
            else:
                erase(other, self.wish, 5_000, lambda _: None)
