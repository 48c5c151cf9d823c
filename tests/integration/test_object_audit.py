"""Verifying an archive of objects: whole it verifies; whatever is changed in it is found."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ledger.archive import ErasableArchive, Erasing, NewLeaf
from ledger.archives import create_objects
from ledger.erasing import Wish, erase
from ledger.journal import entry_name, read_entry
from ledger.leaves import LeafKind, leaf
from ledger.objects import DirectoryStore
from ledger.tiles import LedgerDamaged
from tenancy.master_keys import MasterKeys, new_line
from tests.archive_kinds import DIRECTORY, IN_BUCKET, IN_MOTO, Place, place_of
from tests.archives import true_run, verified
from tests.sequencing import plain, taking


def fill(client: redis.Redis, place: Place, masters: MasterKeys | None = None) -> list[str]:
    """Sequence runs of two tenants and other leaves, in three batches; give the runs' ids."""
    runs: list[str] = []
    with taking(client, place, masters) as one:
        for batch in range(3):
            runs += [
                true_run(client, tenant, calls=batch, word=f"{tenant}{batch}")
                for tenant in ("acme", "beta")
            ]
            plain(client, 120)
            one.drain()
    return runs


def findings(place: Place, masters: MasterKeys | None = None) -> list[str]:
    """Verify an archive; give what does not hold."""
    return verified(Path(place.objects), masters=masters)[1]


@pytest.fixture(params=[DIRECTORY, IN_BUCKET, IN_MOTO])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A place for an archive of objects of each kind."""
    with place_of(request.param, tmp_path, monkeypatch) as made:
        yield made


def test_a_whole_archive_verifies(redis_sync: redis.Redis, place: Place) -> None:
    """Every leaf, tape and payload is looked at, sealed or not, and nothing is found."""
    masters = MasterKeys.parse(new_line("one"))
    fill(redis_sync, place, masters)
    done, found = verified(Path(place.objects), masters=masters)
    assert found == []
    assert done is not None
    assert done.tapes is not None
    assert (done.size, done.signed, done.checkpoints) == (372, 372, 3)
    assert (done.tapes.runs, done.tapes.unopened) == (6, 0)
    assert done.tapes.payloads > 20


def test_what_was_erased_is_nowhere_and_the_rest_verifies(
    redis_sync: redis.Redis, place: Place
) -> None:
    """The objects of an erased run are deleted; its digests and proofs stay and hold."""
    run, *_ = fill(redis_sync, place)
    redis_sync.flushall()
    archive = create_objects(place.objects, place.directory)
    erased = erase(archive, Wish(run=run), 5_000, lambda _: None)
    assert erased.payloads > 3
    assert list(erased.runs) == [run]
    archive.close()
    with taking(redis_sync, place) as one:
        one.drain()
        assert [found.index for found in one.archive.find(run)][:1] == [0]
        assert one.archive.payload(f"input/{run}") is None
    assert findings(place) == []
    data = place.all_objects().values()
    texts = [*data, *(one.read_bytes() for one in place.directory.rglob("*") if one.is_file())]
    assert not any(b"acme0-input" in text for text in texts)
    assert any(b"beta0-input" in text for text in texts)


def test_an_erasure_that_broke_off_is_ended_by_whoever_comes_next(
    redis_sync: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal tells of it before an object is deleted: a crash between leaves it to others."""
    place = Place(tmp_path, str(tmp_path / "objects"))
    run, *_ = fill(redis_sync, place)
    archive: ErasableArchive = create_objects(place.objects, place.directory)
    epoch = archive.take_over()
    data = leaf(LeafKind.PAYLOADS_DELETED, run, tenant="acme", at_ms=9, scope="run", runs=1)
    with monkeypatch.context() as patch:
        patch.setattr(type(archive), "tidy", lambda _: None)
        assert archive.erase(epoch, NewLeaf("erase-1", data), Erasing([run])) > 3
    objects = tmp_path / "objects" / "payloads"
    assert any(b"acme0-input" in one.read_bytes() for one in objects.rglob("*") if one.is_file())
    archive.close()
    with taking(redis_sync, place):
        pass
    texts = [one.read_bytes() for one in objects.rglob("*") if one.is_file()]
    assert not any(b"acme0-input" in text for text in texts)


def test_each_object_that_is_changed_cut_or_taken_away_is_found(
    redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """One byte of any object, or the whole of it; two swapped; the end of the journal."""
    whole = Place(tmp_path / "whole", str(tmp_path / "whole" / "objects"))
    whole.directory.mkdir()
    fill(redis_sync, whole)
    copy = Place(tmp_path / "copy", str(tmp_path / "copy" / "objects"))
    root = Path(copy.objects)

    def afresh() -> None:
        shutil.rmtree(copy.directory, ignore_errors=True)
        shutil.copytree(Path(whole.objects), root)

    afresh()
    assert findings(copy) == []
    store = DirectoryStore(root)
    names = [name for name in store.names("") if not name.startswith(".")]
    store.close()
    journal = [name for name in names if name.startswith("journal/")]
    assert {name.partition("/")[0] for name in names} == {
        *("checkpoint", "journal", "payloads", "tile")
    }
    missed = []
    for name in names:
        path = root / name
        data = path.read_bytes()
        at = int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(data)
        for mutated in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at], None):
            path.unlink()
            if mutated is not None:
                path.write_bytes(mutated)
            if not findings(copy):
                missed.append((name, at, mutated is None))
            path.write_bytes(data)
    for one, other in ((journal[1], journal[3]), (journal[2], journal[-1])):
        first, second = (root / one).read_bytes(), (root / other).read_bytes()
        (root / one).write_bytes(second)
        (root / other).write_bytes(first)
        if not findings(copy):
            missed.append((one, 0, False))
        afresh()
    for name in journal[-2:]:
        (root / name).unlink()
    if not findings(copy):
        missed.append(("the journal's end", 0, True))
    assert missed == []


def test_an_edited_leaf_is_named(redis_sync: redis.Redis, tmp_path: Path) -> None:
    """One byte of a leaf in the journal: the finding says which entry it is."""
    place = Place(tmp_path, str(tmp_path / "objects"))
    fill(redis_sync, place)
    number = next(
        number
        for number in range(20)
        if read_entry((tmp_path / "objects" / entry_name(number)).read_bytes()).kind == "commit"
    )
    path = tmp_path / "objects" / entry_name(number)
    path.write_bytes(path.read_bytes().replace(b'"key_7"', b'"key_8"'))
    assert any(one.startswith("entry 11 (") for one in findings(place)), findings(place)


def test_an_archive_whose_end_was_cut_off_is_not_written_on(
    redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """With a gap, or with less than its checkpoint says, the sequencer does not begin."""
    place = Place(tmp_path, str(tmp_path / "objects"))
    fill(redis_sync, place)
    names = sorted(path for path in (tmp_path / "objects/journal").rglob("*") if path.is_file())
    redis_sync.flushall()
    kept = {path: path.read_bytes() for path in names}
    for gone in ([names[-3]], names[-4:]):
        for path in gone:
            path.unlink()
        for view in tmp_path.glob("view-*"):
            view.unlink()
        with pytest.raises(LedgerDamaged, match=r"is gone|cut off"), taking(redis_sync, place):
            pass
        for path, data in kept.items():
            path.write_bytes(data)
