"""Verifying an archive: both verifiers, against hashing the same leaves and nothing else."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path

import redis

from benchmarks import ledger
from benchmarks.figures import Row, median, spread
from core.logs import configure_logs
from core.redis_client import connect
from core.redis_server import PrivateRedis
from ledger.audit import verify_archive
from ledger.audit_source import open_source
from ledger.checkpoints import Checkpoints
from ledger.notes import SigningKey
from ledger.sequencer import Sequencer
from ledger.sqlite_archive import NAME, SqliteArchive
from ledger.taking import InTheClear
from tools import moonsand_verify

ROUNDS = 5
TIMES = 4  # as often as the ledger's benchmark fills the inbox
KEY = SigningKey("bench", bytes(32))


def verification() -> list[Row]:
    """Measure entries verified each second: without tapes, and runs with tapes and payloads."""
    configure_logs("warning")
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory() as directory,
        PrivateRedis(Path(directory)) as server,
        connect(server.url) as client,
    ):
        for what, fill in (
            ("administrative entries", ledger.fill_plain),
            ("runs (tapes of 7 entries and their payloads, two entries a run)", ledger.fill_runs),
        ):
            with _archive(client, fill) as (path, size):
                bare = [size / _seconds(_hash_all, path) for _ in range(ROUNDS)]
                for name, verify in (("audit verify", _verify), ("the one file", _alone)):
                    rates = [size / _seconds(verify, path) for _ in range(ROUNDS)]
                    ratio = f"{median(rates) / median(bare):.2f}"
                    told = (spread(rates, "entries/s", 0), spread(bare, "entries/s", 0))
                    rows.append(Row(f"{name}, {what}", *told, ratio, "-"))
    return rows


@contextmanager
def _archive(client: redis.Redis, fill: Callable[[redis.Redis], int]) -> Iterator[tuple[Path, int]]:
    client.flushall()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        archive = SqliteArchive.create(Path(directory) / NAME)
        checkpoints = Checkpoints(archive, KEY, client)
        sequencer = Sequencer(client, archive, InTheClear(), checkpoints)
        assert sequencer.take_over()
        for _ in range(TIMES):
            fill(client)
            while sequencer.once():
                pass
            checkpoints.maybe(1, at_once=True)
        size = archive.size
        archive.close()
        yield Path(directory), size


def _seconds(act: Callable[[Path], None], path: Path) -> float:
    began_s = time.perf_counter()
    act(path)
    return time.perf_counter() - began_s


def _verify(path: Path) -> None:
    with closing(open_source(path)) as source:
        assert verify_archive(source, KEY.public, lambda _: None).findings == 0


def _alone(path: Path) -> None:
    with redirect_stdout(io.StringIO()):
        assert moonsand_verify.main([str(path), "--key", str(KEY.public)]) == 0


def _hash_all(path: Path) -> None:
    """Read every leaf, line and payload and hash it: what no verifier can leave out."""
    with closing(sqlite3.connect(path / NAME)) as db:
        for table in ("leaves", "tape_entries", "payloads"):
            for (data,) in db.execute(f"SELECT data FROM {table}"):  # noqa: S608 (constants)
                hashlib.sha256(data).digest()
