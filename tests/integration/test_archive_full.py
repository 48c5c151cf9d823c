"""The disk of the ledger's archive is full: nothing is lost, and it goes on when there is room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from core import keys
from core.errors import Unavailable
from core.settings import Settings
from ledger.archives import open_archive
from ledger.inbox import record
from ledger.leaves import LeafKind, leaf
from ledger.objects import DirectoryStore
from tests.api_server import ApiServer
from tests.deadline import Deadline
from tests.integration.test_sequencer_process import KEY, sequencer
from tests.sequencing import check_archive
from tests.small_disk import SmallDisk

#: Entries, and bytes of each: far more than the disk holds.
_ENTRIES = 60
_ENTRY_BYTES = 50_000
_SMALL_KB = 1_024
_LARGE_KB = 32_768
TENANT = "acme"


def settings(kind: str, directory: Path) -> dict[str, Path | str]:
    """Say where the archive is; objects have their view, which is not full, beside it."""
    found: dict[str, Path | str] = {"ledger_dir": directory / "ledger"}
    return found if kind == "sqlite" else found | {"ledger_objects": str(directory / "disk")}


@contextmanager
def small(kind: str, directory: Path) -> Iterator[SmallDisk]:
    """Put the archive on a small disk."""
    place = directory / ("ledger" if kind == "sqlite" else "disk")
    with SmallDisk(place, _SMALL_KB) as disk:
        yield disk


def signed(kind: str, directory: Path) -> int:
    """Give how many leaves are under the newest checkpoint."""
    archive = open_archive(Settings(**settings(kind, directory)))  # type: ignore[arg-type]
    if archive is None:
        return 0
    with closing(archive):
        note = archive.checkpoint()
        return KEY.public.open(note).size if note else 0


@pytest.mark.parametrize("kind", ["sqlite", "objects"])
def test_a_full_disk_holds_up_and_loses_nothing(
    kind: str, redis_url: str, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """No run is accepted while the inbox is at its bound; with room all is taken, each once."""
    pipeline = redis_sync.pipeline(transaction=False)
    for number in range(_ENTRIES):
        text = os.urandom(_ENTRY_BYTES // 2).hex()
        record(pipeline, leaf(LeafKind.KEY_CREATED, f"k{number}", tenant="", at_ms=1, text=text))
    pipeline.execute()
    where = {f"MOONSAND_{name.upper()}": str(one) for name, one in settings(kind, tmp_path).items()}
    with (
        small(kind, tmp_path) as disk,
        ApiServer(redis_url, ledger_inbox_max=_ENTRIES) as api,
        api.client(TENANT) as client,
        (tmp_path / "log").open("w+b") as log,
        sequencer(redis_url, tmp_path, errors=log.fileno(), **where) as process,
    ):
        Deadline().until(lambda: redis_sync.exists(keys.LEDGER_LOCK), "the sequencer", seconds=20)
        Deadline().until(
            lambda: b"sequencer_put_off" in (tmp_path / "log").read_bytes(),
            "a full disk",
            seconds=20,
        )
        refused = client.post("/v1/runs", json={"script": "return 1"})
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        assert "sequencer" in refused.json()["detail"]
        assert process.poll() is None

        disk.grow(_LARGE_KB)
        Deadline().until(lambda: redis_sync.xlen(keys.LEDGER_INBOX) == 0, "the rest", seconds=30)
        assert client.post("/v1/runs", json={"script": "return 1"}).status_code == 202
        whole = _ENTRIES + 2  # the API key and the run
        Deadline().until(lambda: signed(kind, tmp_path) >= whole, "a checkpoint", seconds=20)
        process.terminate()
        assert process.wait(15) == 0
        archive = open_archive(Settings(**settings(kind, tmp_path)))  # type: ignore[arg-type]
        assert archive is not None
        with closing(archive):
            check_archive(archive, KEY)
            assert len(archive.find("k7")) == 1


def test_a_write_that_finds_no_room_takes_none(tmp_path: Path) -> None:
    """What was written of an object goes again, or each further try would take more."""
    with (
        SmallDisk(tmp_path / "disk", _SMALL_KB) as disk,
        closing(DirectoryStore(disk.path)) as store,
    ):
        for _ in range(2):
            with pytest.raises(Unavailable):
                store.create("name", os.urandom(_SMALL_KB * 2_048))
            assert not is_full(disk.path)
        assert store.create("name", b"small")


def is_full(disk: Path) -> bool:
    """Tell whether there is no room for another batch."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize < _ENTRY_BYTES * 4
