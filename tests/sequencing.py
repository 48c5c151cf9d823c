"""A sequencer in the test's own process, and runs for it to take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import redis

from core import keys
from core.ids import new_id
from ledger.archive import Archive, ArchiveReader
from ledger.checkpoints import Checkpoints, Witness
from ledger.inbox import record
from ledger.leaves import LeafKind, accepted_leaf, leaf, new_salt
from ledger.merkle import leaf_hash, root_of
from ledger.notes import SigningKey
from ledger.sequencer import Sequencer
from ledger.taking import InTheClear, Sealer
from ledger.tiles import root_at
from runs.redis_scripts import load
from tenancy.master_keys import MasterKeys
from tenancy.payload_keys import PayloadSealer
from tests.archive_kinds import Place

KEY = SigningKey("log.example.org/test", bytes(range(32)))
SHA = "ab" * 32
EVERY_TIME = 0.0


@dataclass
class Taking:
    """A sequencer at work on an archive."""

    archive: Archive
    sequencer: Sequencer
    checkpoints: Checkpoints

    def drain(self) -> None:
        """Take all that stands in the inbox, and sign."""
        while self.sequencer.once():
            pass
        self.checkpoints.maybe(self.epoch, at_once=True)

    @property
    def epoch(self) -> int:
        """Give the epoch it writes in."""
        return self.sequencer._own()

    def leaves(self) -> list[dict[str, Any]]:
        """Read every leaf."""
        return [orjson.loads(one.data) for one in self.archive.leaves()]


@contextmanager
def taking(
    client: redis.Redis,
    directory: Path | Place,
    masters: MasterKeys | None = None,
    witnesses: Sequence[Witness] = (),
) -> Iterator[Taking]:
    """Open the archive in `directory`, one in SQLite if it is only a path, and take over."""
    place = directory if isinstance(directory, Place) else Place(directory)
    archive = place.create()
    checkpoints = Checkpoints(archive, KEY, client, witnesses, EVERY_TIME)
    sealer: Sealer = PayloadSealer(archive, masters) if masters else InTheClear()
    sequencer = Sequencer(client, archive, sealer, checkpoints)
    try:
        assert sequencer.take_over()
        yield Taking(archive, sequencer, checkpoints)
    finally:
        client.delete(keys.LEDGER_LOCK)
        archive.close()


def plain(client: redis.Redis, count: int) -> list[bytes]:
    """Put administrative leaves into the inbox; give them."""
    made = [
        leaf(LeafKind.KEY_CREATED, f"key_{number}", tenant="acme", at_ms=number)
        for number in range(count)
    ]
    pipeline = client.pipeline(transaction=False)
    for one in made:
        record(pipeline, one)
    pipeline.execute()
    return made


def ended_run(client: redis.Redis, tenant: str = "acme", calls: int = 1, reply: str = "{}") -> str:
    """Write what a run with some calls leaves behind when it has ended; give its id."""
    run = new_id("run")
    accepted: dict[str, Any] = {"tenant": tenant, "key_id": "key_1", "seed": 7, "salt": new_salt()}
    accepted |= {"script_sha256": SHA, "input_sha256": SHA}
    accepted |= {"limits": {"calls": 9}, "grants": ["mux"]}
    pipeline = client.pipeline(transaction=False)
    tape = keys.tape(run)
    rows: list[tuple[str, dict[str, Any]]] = [
        ("accepted", accepted),
        ("started", {"attempt": 1, "worker": "w1"}),
    ]
    for seq in range(1, calls + 1):
        rows.append(("intent", {"seq": seq, "name": "mux.create_asset", "surface_sha256": SHA}))
        rows.append(("effect", {"seq": seq, "effect": "succeeded", "ok": True, "reply": reply}))
    for seq, (kind, body) in enumerate(rows, 1):
        fields: Any = {"kind": kind, "at_ms": 1_000 + seq, "body": orjson.dumps(body)}
        pipeline.xadd(tape, fields, id=f"{seq}-0")
    kept: dict[str, Any] = {
        "tenant": tenant,
        "state": "running",
        "input": '{"a":1}',
        "result_ttl_s": 3_600,
    }
    for name, value in kept.items():
        pipeline.hset(keys.run(run), name, value)
    pipeline.set(keys.script(SHA), "return 1")
    pipeline.set(keys.surface(SHA), '{"mux":{}}')
    given: Any = {"kind": "run.accepted", "run": run, "leaf": accepted_leaf(run, 1_000, accepted)}
    pipeline.xadd(keys.LEDGER_INBOX, given)
    pipeline.execute()
    end_run(client, run)
    return run


def end_run(client: redis.Redis, run: str) -> None:
    """End a run as the scripts do."""
    body: dict[str, Any] = {
        "reason": "ok",
        "attempt": 1,
        "result_sha256": SHA,
        "output_sha256": SHA,
    }
    body["usage"] = {"calls": 1}
    text = load("lib_end").text
    call = "end_run(ARGV[1], ARGV[2], 'succeeded', 'ok', ARGV[3], {'result', '1'})"
    client.eval(f"{text}\n{call}", 0, run, "2000", orjson.dumps(body))


def check_archive(archive: ArchiveReader, key: SigningKey = KEY) -> None:
    """
    Check an archive from outside: leaves, tree, tapes and payloads agree, and nothing is twice.

    Raises:
        AssertionError: they do not.
    """
    leaves = list(archive.leaves())
    assert [one.index for one in leaves] == list(range(archive.size))
    root = root_of(leaf_hash(one.data) for one in leaves)
    assert root_at(archive.tile, archive.size) == root
    for one in leaves:
        fields = orjson.loads(one.data)
        if fields["kind"] == "run.finished":
            assert fields["tape"]["whole"] is True
            lines = archive.tape(fields["tape"]["id"])
            assert len(lines) == fields["tape"]["entries"]
            assert root_of(map(leaf_hash, lines)).hex() == fields["tape"]["root"]
    note = archive.checkpoint()
    if note is not None:
        signed = key.public.open(note)
        assert root_at(archive.tile, signed.size) == signed.root
