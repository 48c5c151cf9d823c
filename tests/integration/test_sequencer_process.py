"""`moonsand sequencer` in real processes, beside a real worker and a Redis that goes away."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from core import keys
from core.redis_server import PrivateRedis
from ledger.archive import ArchiveReader
from ledger.notes import SigningKey
from ledger.receipts import check_receipt, make_receipt
from ledger.sqlite_archive import NAME, SqliteArchive
from ledger.witness import UrlWitness, witness_of
from runs.store import RunStore
from tests import warm
from tests.command import environment, moonsand
from tests.deadline import Deadline
from tests.integration.run_watching import TENANT, ended, submit
from tests.sequencing import plain
from tests.worker_processes import WorkerProcess

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
KEY = SigningKey("log.example.org/process", bytes(32))


@contextmanager
def sequencer(
    redis_url: str, directory: Path, *, errors: int = 2, **more: str
) -> Iterator[warm.WarmProcess]:
    """Start `moonsand sequencer`, which logs to `errors`; kill it at the end if it still lives."""
    (directory / "key").write_text(KEY.secret())
    environ = {"PATH": os.environ["PATH"], "REDIS_URL": redis_url, **more}
    environ["MOONSAND_LEDGER_DIR"] = str(directory / "ledger")
    environ["MOONSAND_LEDGER_KEY_FILE"] = str(directory / "key")
    environ |= {"MOONSAND_LEDGER_CHECKPOINT_S": "1", "MOONSAND_LOG_LEVEL": "warning"}
    process = warm.start("moonsand", "sequencer", env=environ, streams=(0, 1, errors))
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def signed(directory: Path) -> int:
    """Give how many leaves are under the newest checkpoint."""
    with archive(directory) as reader:
        note = reader.checkpoint() if reader else None
        return KEY.public.open(note).size if note else 0


@contextmanager
def archive(directory: Path) -> Iterator[SqliteArchive | None]:
    """Open the archive to read, None as long as there is none."""
    path = directory / "ledger" / NAME
    if not path.exists():
        yield None
        return
    with closing(SqliteArchive(path, write=False)) as reader:
        yield reader


def receipt_of(directory: Path, run_id: str, tenant: str = TENANT) -> dict[str, Any] | None:
    """Give the receipt of a run, None as long as its end is not signed."""
    with archive(directory) as reader:
        return make_receipt(reader, run_id, tenant) if reader else None


async def test_a_real_run_gets_a_receipt(
    redis_url: str, store: RunStore, worker: WorkerProcess, tmp_path: Path
) -> None:
    """Submitted, executed, sequenced by processes: the receipt holds; SIGTERM ends with 0."""
    assert worker.pid
    with sequencer(redis_url, tmp_path) as process:
        run_id = await submit(store)
        await ended(store, run_id)
        receipt = Deadline().until(lambda: receipt_of(tmp_path, run_id), "a receipt", seconds=20)
        assert receipt_of(tmp_path, run_id, "other") is None
        process.terminate()
        assert process.wait(15) == 0
    assert receipt is not None
    assert check_receipt(receipt, KEY.public).size >= 2
    leaf = json.loads(receipt["leaves"][1]["leaf"])
    assert (leaf["reason"], leaf["versions"]["engine"]) == ("ok", "Lua 5.4, lupa 2.8")


def test_a_second_one_takes_over_when_the_first_is_killed(
    redis_url: str, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """Kill -9 of the one at work: the one that rested goes on, within the lock's time."""
    with sequencer(redis_url, tmp_path) as first:
        plain(redis_sync, 3)
        Deadline().until(lambda: signed(tmp_path) == 3, "the first checkpoint", seconds=20)
        with sequencer(redis_url, tmp_path):
            first.send_signal(signal.SIGKILL)
            plain(redis_sync, 4)
            Deadline().until(lambda: signed(tmp_path) == 7, "the second's checkpoint", seconds=30)


def test_it_outlives_an_outage_of_redis(tmp_path: Path) -> None:
    """Redis stops and starts again: the sequencer goes on where it was."""
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    with sequencer(server.url, tmp_path) as process:
        with redis.Redis.from_url(server.url) as client:
            plain(client, 2)
        Deadline().until(lambda: signed(tmp_path) == 2, "a checkpoint", seconds=20)
        server.stop()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            plain(client, 2)
            Deadline().until(lambda: signed(tmp_path) == 4, "the next one", seconds=30)
            assert client.xlen(keys.LEDGER_INBOX) == 0
        assert process.poll() is None
    server.stop()


def test_it_does_not_start_half_configured(redis_url: str, tmp_path: Path) -> None:
    """No directory, no key, two keys, a malformed one, no witness: a line says what is missing."""
    good = {"REDIS_URL": redis_url, "MOONSAND_LEDGER_DIR": str(tmp_path / "ledger")}
    key = {"MOONSAND_LEDGER_KEY": KEY.secret()}
    for given, words in (
        ({"REDIS_URL": redis_url}, "no place for the ledger's archive"),
        (good, "give either MOONSAND_LEDGER_KEY or MOONSAND_LEDGER_KEY_FILE"),
        ({**good, **key, "MOONSAND_LEDGER_KEY_FILE": "/x"}, "give either MOONSAND_LEDGER_KEY or"),
        ({**good, "MOONSAND_LEDGER_KEY": "PRIVATE+KEY+x"}, "a signing key is"),
        ({**good, "MOONSAND_LEDGER_KEY_FILE": str(tmp_path / "none")}, "cannot be read"),
        ({**good, **key, "MOONSAND_LEDGER_WITNESS": str(tmp_path / "none")}, "the witness must be"),
    ):
        done = moonsand("sequencer", env=environment(tmp_path, **given))
        assert (done.returncode in {2, 3}, words in done.stderr) == (True, True), done.stderr
        assert KEY.secret().rpartition("+")[2] not in done.stderr


# --- an address as a witness ---------------------------------------------------------------------


class Receiver(HTTPServer):
    """Keeps what was posted; answers with 500 the first time."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.notes.append(body.decode())
        self.send_response(500 if len(self.server.notes) == 1 else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def test_an_address_gets_checkpoints_and_holds_nobody_up() -> None:
    """Each checkpoint is posted, one that fails is logged, and the next one goes all the same."""
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        witness: Any = witness_of(f"http://127.0.0.1:{receiver.server_address[1]}/log")
        assert isinstance(witness, UrlWitness)
        for size in (1, 2):
            note = KEY.sign(size, bytes(32))
            witness.push(size, note)
            Deadline().until(lambda note=note: note in receiver.notes, "the note")  # type: ignore[misc]
        receiver.shutdown()
        thread.join()
    assert witness.newest() is None


def test_the_archive_of_a_process_is_whole(
    redis_url: str, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """What a process made of a full inbox passes the check from outside."""
    plain(redis_sync, 600)
    with sequencer(redis_url, tmp_path, MOONSAND_LEDGER_TILES=str(tmp_path / "tiles")):
        Deadline().until(lambda: signed(tmp_path) == 600, "the checkpoint", seconds=20)
        with archive(tmp_path) as reader:
            assert reader is not None
            found: ArchiveReader = reader
            assert found.size == 600

        def published_whole() -> bytes | None:
            note: Any = redis_sync.get(keys.LEDGER_CHECKPOINT)
            return note if note and KEY.public.open(note.decode()).size == 600 else None

        published = Deadline().until(published_whole, "publication")
        files = tmp_path / "tiles" / "checkpoint"
        Deadline().until(lambda: files.exists() and files.read_bytes() == published, "the files")
