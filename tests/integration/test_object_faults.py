"""A store of objects that fails, or has failed and carried out what it was told all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from core import keys
from core.errors import Unavailable
from ledger.archive import NewLeaf, Payload
from ledger.archives import create_objects
from ledger.object_archive import ObjectArchive
from ledger.objects import DirectoryStore
from tests.archive_kinds import IN_BUCKET, Place, place_of
from tests.s3_server import Bucket
from tests.sequencing import Taking, check_archive, ended_run, plain, taking

WRITES = ("journal/", "payloads/", "tile/", "checkpoint")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place for an archive in a bucket."""
    with place_of(IN_BUCKET, tmp_path, monkeypatch) as made:
        yield made


def fail(bucket: Bucket, prefix: str, when: str, times: int) -> dict[str, int]:
    """
    Let the next puts below `prefix` fail; afterwards of the first, what asks about it too.

    Gives how many are still to fail.
    """
    left = {"PUT": times, "GET": times if when == "after" else 0}

    def fault(method: str, key: str) -> str | None:
        if f"/{prefix}" in f"/{key}" and left.get(method):
            if method == "GET" and left["PUT"] == times:
                return None  # it is not about what failed
            left[method] -= 1
            return when if method == "PUT" else "before"
        return None

    bucket.fault = fault
    return left


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("prefix", WRITES)
def test_a_put_that_fails_is_made_once(
    redis_sync: redis.Redis, place: Place, prefix: str, when: str, times: int
) -> None:
    """Failed, or failed but carried out, for a moment or for long: each entry is one leaf."""
    assert place.bucket is not None
    with taking(redis_sync, place) as one:
        for _ in range(2):
            ended_run(redis_sync, calls=3)
            plain(redis_sync, 3)
            left = fail(place.bucket, f"log-{place.bucket.port}/{prefix}", when, times)
            try:
                one.drain()
            except Unavailable:
                place.bucket.fault = None
                _until_drained(one)
            place.bucket.fault = None
            assert left["PUT"] < times
        check_archive(one.archive)
        kinds = [leaf["kind"] for leaf in one.leaves()]
        assert kinds.count("run.finished") == 2
        assert len(kinds) == 10
    assert redis_sync.xlen(keys.LEDGER_INBOX) == 0
    _no_payload_without_entry(place)


def _until_drained(one: Taking) -> None:
    """Go on as the sequencer does; what came through late may be told once."""
    for attempt in range(3):
        try:
            one.drain()
        except Unavailable:
            assert attempt < 2
        else:
            return


def _no_payload_without_entry(place: Place) -> None:
    archive = create_objects(place.objects, place.directory)
    named = {row[0] for row in archive._view.all("SELECT DISTINCT object FROM payloads")}
    assert set(archive._store.names("payloads/")) == named
    archive.close()


class Late(DirectoryStore):
    """A store whose next entry of the journal is carried out later, or never."""

    held: tuple[str, bytes] | None = None
    armed = False

    def create(self, name: str, data: bytes) -> bool:
        if self.armed and name.startswith("journal/"):
            self.armed = False
            self.held = name, data
            raise Unavailable("no answer")
        return super().create(name, data)

    def land(self) -> bool:
        """Carry it out."""
        assert self.held is not None
        return super().create(*self.held)


def _late(tmp_path: Path) -> tuple[ObjectArchive, Late]:
    archive = create_objects(str(tmp_path / "objects"), tmp_path)
    archive._store.close()
    late = Late(tmp_path / "objects")
    archive._store = late
    return archive, late


PAYLOAD = Payload("input/run_1", "acme", "run_1", 5, "", b"x")


def test_what_lands_before_it_is_given_up_is_kept(tmp_path: Path) -> None:
    """The commit had happened: its payloads are not removed, and its entries are known."""
    archive, late = _late(tmp_path)
    epoch = archive.take_over()
    late.armed = True
    with pytest.raises(Unavailable):
        archive.commit(epoch, [NewLeaf("1-1", b"{}")], [], [PAYLOAD])
    assert late.land()
    with pytest.raises(Unavailable, match="came through late"):
        archive.discard(epoch)
    archive.discard(epoch)
    assert archive.known(["1-1"]) == {"1-1"}
    assert archive.payload(PAYLOAD.id) == PAYLOAD
    assert archive.commit(epoch, [NewLeaf("2-1", b"{}")]) == 2
    archive.close()


def test_what_was_given_up_can_land_no_more(tmp_path: Path) -> None:
    """Its number is taken before its payloads are removed: it names nothing that is gone."""
    archive, late = _late(tmp_path)
    epoch = archive.take_over()
    late.armed = True
    with pytest.raises(Unavailable):
        archive.commit(epoch, [NewLeaf("1-1", b"{}")], [], [PAYLOAD])
    archive.discard(epoch)
    assert list(late.names("payloads/")) == []
    assert not late.land()
    assert archive.commit(epoch, [NewLeaf("1-1", b"{}")], [], [PAYLOAD]) == 1
    assert archive.payload(PAYLOAD.id) == PAYLOAD
    archive.close()


def test_a_store_that_lets_objects_be_replaced_is_refused(place: Place) -> None:
    """Without If-None-Match two sequencers could both write: nothing is written at all."""
    assert place.bucket is not None
    place.bucket.honours_conditions = False
    archive = place.create()
    with pytest.raises(Unavailable, match="puts an object in the place of another"):
        archive.take_over()
    assert [key for key in place.bucket.objects if "journal" in key] == []
    archive.close()


def test_a_view_of_another_journal_is_made_anew(tmp_path: Path) -> None:
    """What a host remembers proves nothing: the objects decide."""
    for data in (b"{}", b"[]"):
        where = tmp_path / data.hex()
        archive = create_objects(str(where), tmp_path)
        archive.commit(archive.take_over(), [NewLeaf("1-1", data)])
        archive.close()
    views = sorted(tmp_path.glob("view-*.db"))
    views[0].write_bytes(views[1].read_bytes())
    from ledger import archives  # noqa: PLC0415

    archives._compared.clear()
    for data in (b"{}", b"[]"):
        archive = create_objects(str(tmp_path / data.hex()), tmp_path)
        assert [found.data for found in archive.leaves()] == [data]
        archive.close()
