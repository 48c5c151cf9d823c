"""The sequencer: from a full inbox in Redis to a committed archive that is on the disk."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import redis

from benchmarks.figures import Row, median, spread
from core import keys
from core.ids import new_id
from core.logs import configure_logs
from core.redis_client import connect
from core.redis_server import PrivateRedis
from ledger.archive import Archive
from ledger.archives import create_objects
from ledger.checkpoints import Checkpoints
from ledger.inbox import record
from ledger.leaves import LeafKind, accepted_leaf, leaf, new_salt
from ledger.notes import SigningKey
from ledger.sequencer import Sequencer
from ledger.sqlite_archive import NAME, SqliteArchive
from ledger.taking import InTheClear, Sealer
from tenancy.master_keys import MasterKeys, new_line
from tenancy.payload_keys import PayloadSealer

ROUNDS = 5
LEAVES = 10_000
RUNS = 2_500
CALLS = 2
PEER_BATCH = 500
SCRIPT = "return 1"
SHA = hashlib.sha256(SCRIPT.encode()).hexdigest()
NULL_SHA = hashlib.sha256(b"null").hexdigest()
TARGET = ">= 5,000 leaves/s"


def appends() -> list[Row]:
    """Measure plain leaves and runs with tapes, in the clear and sealed."""
    masters = MasterKeys.parse(new_line("bench"))
    plain: list[float] = []
    runs: list[float] = []
    sealed: list[float] = []
    objects: list[float] = []
    object_runs: list[float] = []
    peer: list[float] = []
    configure_logs("warning")
    with (
        tempfile.TemporaryDirectory() as directory,
        PrivateRedis(Path(directory)) as server,
        connect(server.url) as client,
    ):
        for _ in range(ROUNDS):
            plain.append(_rate(client, fill_plain, None))
            peer.append(_peer_rate())
            runs.append(_rate(client, fill_runs, None))
            sealed.append(_rate(client, fill_runs, masters))
            objects.append(_rate(client, fill_plain, None, objects=True))
            object_runs.append(_rate(client, fill_runs, None, objects=True))
    bare = spread(peer, "leaves/s", 0)

    def row(what: str, rates: list[float]) -> Row:
        ratio = f"{median(rates) / median(peer):.2f}"
        return Row(what, spread(rates, "leaves/s", 0), bare, ratio, TARGET)

    tape = f"tapes of {2 + 2 * CALLS + 1} entries"
    return [
        row("sequencer, administrative leaves", plain),
        row(f"sequencer, runs ({tape}, two leaves a run)", runs),
        row("the same, payloads sealed for their tenant", sealed),
        row("archive of objects in a directory, administrative leaves", objects),
        row("archive of objects in a directory, runs", object_runs),
    ]


def _rate(
    client: redis.Redis,
    fill: Callable[[redis.Redis], int],
    masters: MasterKeys | None,
    *,
    objects: bool = False,
) -> float:
    client.flushall()
    count = fill(client)
    with _sequencer(client, masters, objects=objects) as (sequencer, checkpoints, archive):
        began_s = time.perf_counter()
        while sequencer.once():
            checkpoints.maybe(1)
        took_s = time.perf_counter() - began_s
        assert archive.size == count
    return count / took_s


@contextmanager
def _sequencer(
    client: redis.Redis, masters: MasterKeys | None, *, objects: bool
) -> Iterator[tuple[Sequencer, Checkpoints, Archive]]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:  # a disk, as no tmpfs is
        path = Path(directory)
        archive: Archive = SqliteArchive.create(path / NAME)
        if objects:
            archive.close()
            archive = create_objects(str(path / "objects"), path)
        checkpoints = Checkpoints(archive, SigningKey.new("bench"), client)
        sealer: Sealer = PayloadSealer(archive, masters) if masters else InTheClear()
        sequencer = Sequencer(client, archive, sealer, checkpoints)
        assert sequencer.take_over()
        yield sequencer, checkpoints, archive
        archive.close()


def fill_plain(client: redis.Redis) -> int:
    """Put leaves of keys into the inbox; give how many."""
    pipeline = client.pipeline(transaction=False)
    for number in range(LEAVES):
        facts = {"scopes": ["runs:read", "runs:write"], "sha256": SHA}
        record(
            pipeline, leaf(LeafKind.KEY_CREATED, new_id("key"), tenant="t", at_ms=number, **facts)
        )
    pipeline.execute()
    return LEAVES


def fill_runs(client: redis.Redis) -> int:
    """Put ended runs into Redis and the inbox; give how many leaves they make."""
    pipeline = client.pipeline(transaction=False)
    for number in range(RUNS):
        _put_run(pipeline, number)
    pipeline.set(keys.script(SHA), SCRIPT)
    pipeline.execute()
    return 2 * RUNS


def _put_run(pipeline: Any, number: int) -> None:
    run = new_id("run")
    accepted: dict[str, Any] = {"tenant": "t", "key_id": new_id("key"), "seed": 7}
    accepted |= {"salt": new_salt(), "script_sha256": SHA, "input_sha256": NULL_SHA}
    accepted |= {"limits": {"calls": 200, "wall_ms": 60_000}, "grants": None}
    call = {"name": "mux.get_asset", "account": "default", "effect_class": "read"}
    bodies: list[tuple[str, dict[str, Any]]] = [("accepted", accepted), ("started", {"attempt": 1})]
    for seq in range(1, CALLS + 1):
        told = {"seq": seq, "arguments_sha256": SHA}
        bodies.append(("intent", {**call, **told, "preview": "{}"}))
        bodies.append(("effect", {"seq": seq, "effect": "succeeded", "reply": "x" * 500}))
    bodies.append(
        ("finished", {"reason": "ok", "result_sha256": NULL_SHA, "output_sha256": NULL_SHA})
    )
    for seq, (kind, body) in enumerate(bodies, 1):
        fields = {"kind": kind, "at_ms": number, "body": orjson.dumps(body)}
        pipeline.xadd(keys.tape(run), fields, id=f"{seq}-0")
    pipeline.hset(keys.run(run), "input", "null")
    given = {"kind": "run.accepted", "run": run, "leaf": accepted_leaf(run, number, accepted)}
    pipeline.xadd(keys.LEDGER_INBOX, given)
    ended = {"kind": "run.finished", "run": run, "tenant": "t", "seq": len(bodies), "at_ms": 1}
    pipeline.xadd(keys.LEDGER_INBOX, {**ended, "ttl_s": 3_600})


def _peer_rate() -> float:
    """Append leaves of the same size to a bare SQLite table, chained by SHA-256, in batches."""
    data = b"x" * 300
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        db = sqlite3.connect(Path(directory) / "bare.db", isolation_level=None)
        db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
        db.execute("CREATE TABLE leaves (idx INTEGER PRIMARY KEY, data BLOB, hash BLOB)")
        head, began_s = b"", time.perf_counter()
        for start in range(0, LEAVES, PEER_BATCH):
            rows = []
            for index in range(start, start + PEER_BATCH):
                head = hashlib.sha256(head + data).digest()
                rows.append((index, data, head))
            db.execute("BEGIN")
            db.executemany("INSERT INTO leaves VALUES (?, ?, ?)", rows)
            db.execute("COMMIT")
        took_s = time.perf_counter() - began_s
        db.close()
    return LEAVES / took_s
