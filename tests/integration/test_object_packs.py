"""Payloads of many runs in one object: what is erased leaves it, what stays is found again."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from core.errors import Unavailable
from ledger import archives, journal
from ledger.archive import Erasing, NewLeaf, Payload
from ledger.archives import create_objects
from ledger.erasing import Wish, erase
from ledger.journal_view import JournalView
from ledger.object_archive import ObjectArchive
from ledger.objects import DirectoryStore
from ledger.tiles import LedgerDamaged
from tests.archive_kinds import IN_BUCKET, Place, place_of
from tests.archives import true_run, verified
from tests.sequencing import KEY, taking
from tools import moonsand_verify


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place for an archive in a bucket."""
    with place_of(IN_BUCKET, tmp_path, monkeypatch) as made:
        yield made


def fill(client: redis.Redis, place: Place) -> list[str]:
    """Sequence runs of two tenants in one batch; give their ids."""
    tenants = ("acme", "beta", "acme")
    runs = [true_run(client, one, word=f"{one}{at}") for at, one in enumerate(tenants)]
    with taking(client, place) as one:
        one.drain()
    return runs


def packs(place: Place) -> dict[str, bytes]:
    """Give the objects with payloads."""
    objects = place.all_objects()
    return {name: data for name, data in objects.items() if name.startswith("payloads/")}


def erased(place: Place, wish: Wish) -> None:
    """Erase, as the command does."""
    with closing(create_objects(place.objects, place.directory)) as archive:
        erase(archive, wish, 5_000, lambda _: None)


def holds(place: Place) -> bool:
    """Tell whether both verifiers find nothing."""
    found = verified(Path(place.objects))[1]
    return not found and moonsand_verify.main([place.objects, "--key", str(KEY.public)]) == 0


def put_as_before(self: ObjectArchive, payloads: Sequence[Payload]) -> list[dict[str, Any]]:
    """Put payloads as the first format did: an object for each run, one for each shared one."""
    there = self.has_payloads([one.id for one in payloads])
    wanted = {one.id: one for one in payloads if one.id not in there}
    told = []
    keyed = sorted(wanted.values(), key=lambda one: (one.tenant, one.run, one.run or one.id))
    for (tenant, run, _), group in groupby(
        keyed, key=lambda one: (one.tenant, one.run, "" if one.run else one.id)
    ):
        kept = list(group)
        name = f"{self._pack_name()}/0"
        self._loose.add(name)
        self._store.create_all({name: b"".join(one.data for one in kept)})
        parts = [[one.id, one.at_ms, one.key_id, len(one.data)] for one in kept]
        told.append({"object": name, "tenant": tenant, "run": run, "parts": parts})
    return told


def test_an_archive_of_the_first_format_is_read_and_written_on(
    redis_sync: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries of both formats stand in one journal; erasing from both leaves the rest whole."""
    place = Place(tmp_path, str(tmp_path / "objects"))
    with monkeypatch.context() as patch:
        patch.setattr(journal, "FORMAT", 1)
        patch.setattr(ObjectArchive, "_put", put_as_before)
        first, other, _ = fill(redis_sync, place)
    assert len(packs(place)) == 8  # three runs, their three scripts, a surface of each tenant
    second, *_ = fill(redis_sync, place)
    assert holds(place)
    for run in (first, second):
        erased(place, Wish(run=run))
    with closing(place.reader()) as reader:
        assert [reader.payload(f"input/{run}") for run in (first, second)] == [None, None]
        assert reader.payload(f"input/{other}") is not None
    assert holds(place)


def test_what_a_batch_keeps_is_one_object(redis_sync: redis.Redis, place: Place) -> None:
    """However many runs there are, their payloads are put once; an erasure puts the rest anew."""
    run, other, _ = fill(redis_sync, place)
    before = packs(place)
    assert len(before) == 1
    erased(place, Wish(run=run))
    after = packs(place)
    assert len(after) == 1
    assert not before.keys() & after.keys()
    assert b"acme0-input" in b"".join(before.values())
    assert b"acme0-input" not in b"".join(after.values())
    assert verified(Path(place.objects))[1] == []
    erased(place, Wish(tenant="acme"))
    erased(place, Wish(run=other))
    assert packs(place) == {}
    assert verified(Path(place.objects))[1] == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("prefix", ["payloads/", "journal/"])
def test_an_erasure_whose_put_fails_is_made_whole_by_the_next(
    redis_sync: redis.Redis, place: Place, prefix: str, when: str
) -> None:
    """Failed, or failed but carried out: afterwards what was erased is nowhere, the rest there."""
    run, other, _ = fill(redis_sync, place)
    assert place.bucket is not None
    done: list[str] = []

    def fault(method: str, key: str) -> str | None:
        # A new epoch is written first, in a journal entry of its own.
        if method == "PUT" and f"/{prefix}" in key:
            done.append(key)
            return None if prefix == "journal/" and len(done) == 1 else when
        return "before" if method == "GET" and key in done[-1:] else None

    place.bucket.fault = fault
    try:
        erased(place, Wish(run=run))
    except Unavailable:
        place.bucket.fault = None
        erased(place, Wish(run=run))
    place.bucket.fault = None
    assert done
    with taking(redis_sync, place) as one:
        one.drain()
        assert one.archive.payload(f"input/{run}") is None
        assert one.archive.payload(f"input/{other}") is not None
    assert len(packs(place)) == 1
    assert not any(b"acme0-input" in data for data in packs(place).values())
    assert verified(Path(place.objects))[1] == []


def test_a_reader_finds_what_was_moved_since_it_looked(
    redis_sync: redis.Redis, place: Place
) -> None:
    """The object that its view names is gone: it follows the journal and looks again."""
    run, other, _ = fill(redis_sync, place)
    with closing(place.reader()) as reader:
        kept = reader.payload(f"script/beta/{script_of(reader, other)}")
        erased(place, Wish(run=run))
        found = reader.payload(f"input/{other}")
        assert found is not None
        assert found.data == b'{"said":"beta1-input"}'
        assert reader.payload(f"input/{run}") is None
        assert reader.payload(f"script/beta/{script_of(reader, other)}") == kept


def script_of(reader: Any, run: str) -> str:
    """Give the digest of a run's script."""
    return str(orjson.loads(reader.find(run)[0].data)["script_sha256"])


def test_an_entry_that_erases_a_part_of_an_object_and_leaves_it_is_refused(
    tmp_path: Path,
) -> None:
    """What is erased goes with its object: the journal has to say where the rest is."""
    archive = create_objects(str(tmp_path / "objects"), tmp_path)
    epoch = archive.take_over()
    two = [Payload(f"input/{run}", "acme", run, 5, "", b"x") for run in ("run_1", "run_2")]
    archive.commit(epoch, [NewLeaf("1-1", b"{}")], [], two)
    told = journal.told_leaves([NewLeaf("2-1", b"{}")])
    body = {"leaves": told[0], "runs": ["run_1"], "shared": [], "tenants": []}
    head = archive._view.head
    for moved in ({}, {"payloads/x": {"object": "payloads/y", "sha256": "0"}}):
        said = {"epoch": epoch, "writer": "w", "kind": "erase", **body, "moved": moved}
        entry = journal.read_entry(journal.write_entry(head, said, told[1]))
        view = JournalView()
        for one in range(head.next):
            text = archive._store.get(journal.entry_name(one))
            assert text is not None
            view.apply(journal.read_entry(text))
        with pytest.raises(LedgerDamaged, match="cannot be taken"):
            view.apply(entry)
        view.close()
    assert archive.erase(epoch, NewLeaf("2-1", b"{}"), Erasing(["run_1"])) == 1
    assert archive.payload("input/run_2") == two[1]
    archive.close()


def test_a_view_of_an_earlier_version_is_made_anew(tmp_path: Path) -> None:
    """It has other tables: a host that was updated reads the journal once more, and goes on."""
    kept = Payload("input/run_1", "acme", "run_1", 5, "", b"x")
    with closing(create_objects(str(tmp_path / "objects"), tmp_path)) as archive:
        archive.commit(archive.take_over(), [NewLeaf("1-1", b"{}")], [], [kept])
    (view,) = tmp_path.glob("view-*.db")
    with closing(sqlite3.connect(view)) as db:
        db.executescript("DROP TABLE packs; PRAGMA user_version = 0;")
    archives._compared.clear()
    with closing(create_objects(str(tmp_path / "objects"), tmp_path)) as archive:
        assert archive.payload(kept.id) == kept
        assert archive.commit(archive.take_over(), [NewLeaf("2-1", b"{}")]) == 2


class Died(Exception):
    """The process that wrote is gone."""


class Dying(DirectoryStore):
    """A store whose writer dies at one of its writes, before or after it is carried out."""

    def __init__(self, root: Path, left: int, *, after: bool) -> None:
        super().__init__(root)
        self._left = left
        self._after = after

    def _reach(self, *, done: bool) -> None:
        """Count a write that begins, or one that was carried out; die when it is the one."""
        if self._left == 0 and done == self._after:
            raise Died
        self._left -= done

    def create(self, name: str, data: bytes) -> bool:
        self._reach(done=False)
        made = super().create(name, data)
        self._reach(done=True)
        return made

    def create_all(self, objects: Mapping[str, bytes]) -> None:
        self._reach(done=False)
        super().create_all(objects)
        self._reach(done=True)

    def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        self._reach(done=False)
        new = super().replace(name, data, tag)
        self._reach(done=True)
        return new

    def delete(self, names: Iterable[str]) -> None:
        self._reach(done=False)
        super().delete(names)
        self._reach(done=True)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_erasure_that_dies_at_any_write_leaves_all_or_nothing(
    redis_sync: redis.Redis, tmp_path: Path, *, after: bool
) -> None:
    """The archive verifies, erased or not; another try makes it so, and leaves no object over."""
    whole = Place(tmp_path / "whole", str(tmp_path / "whole" / "objects"))
    whole.directory.mkdir()
    run, other, _ = fill(redis_sync, whole)
    redis_sync.flushall()
    for left in range(20):
        place = Place(tmp_path / str(left), str(tmp_path / str(left) / "objects"))
        shutil.copytree(whole.objects, place.objects, ignore=shutil.ignore_patterns(".*"))
        archive = create_objects(place.objects, place.directory)
        archive._store.close()
        archive._store = Dying(Path(place.objects), left, after=after)
        died = False
        try:
            erase(archive, Wish(run=run), 5_000, lambda _: None)
        except Died:
            died = True
        archive.close()
        assert verified(Path(place.objects))[1] == []
        if not is_erased(place, run):
            erased(place, Wish(run=run))
        with taking(redis_sync, place) as one:
            one.drain()
            assert one.archive.payload(f"input/{other}") is not None
        assert is_erased(place, run)
        assert len(packs(place)) == 1
        assert not any(b"acme0-input" in data for data in place.all_objects().values())
        assert verified(Path(place.objects))[1] == []
        if not died:
            break
    assert 3 < left < 19


def is_erased(place: Place, run: str) -> bool:
    """Tell whether the journal says that a run's payloads are gone."""
    with closing(place.reader()) as reader:
        return reader.payload(f"input/{run}") is None
