"""The sequencer on a real Redis: everything once, in order, by one writer, sealed when asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from core import keys
from ledger.archive import NewLeaf, Outrun
from ledger.leaves import commit
from ledger.merkle import leaf_hash, root_of, verify_inclusion
from ledger.sqlite_archive import NAME, SqliteArchive
from ledger.tiles import LedgerDamaged, prove_inclusion
from ledger.witness import DirectoryWitness
from tenancy.envelope import DataKey, VaultDamaged
from tenancy.master_keys import MasterKeys, new_line
from tenancy.payload_keys import PayloadReader
from tests.archive_kinds import KINDS, Place, place_of
from tests.sequencing import KEY, SHA, check_archive, end_run, ended_run, plain, taking

SECRET_REPLY = "reply-that-nobody-may-read"


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A place for an archive of each kind."""
    with place_of(request.param, tmp_path, monkeypatch) as made:
        yield made


def test_leaves_are_stored_in_their_exact_bytes_and_order(
    redis_sync: redis.Redis, place: Place
) -> None:
    """What was put into the inbox is what the tree is made of; the inbox is empty after."""
    made = plain(redis_sync, 700)
    with taking(redis_sync, place) as one:
        one.drain()
        assert [leaf.data for leaf in one.archive.leaves()] == made
        signed = KEY.public.open(one.archive.checkpoint() or "")
        assert (signed.size, signed.root) == (700, root_of(map(leaf_hash, made)))
        proof = prove_inclusion(one.archive.tile, 300, 700)
        assert verify_inclusion(leaf_hash(made[300]), 300, 700, proof, signed.root)
    assert redis_sync.xlen(keys.LEDGER_INBOX) == 0
    assert redis_sync.get(keys.LEDGER_CHECKPOINT) == one_note(place).encode()


def one_note(place: Place) -> str:
    """Give the newest checkpoint of an archive."""
    archive = place.reader()
    note = archive.checkpoint()
    archive.close()
    assert note is not None
    return note


def test_a_runs_end_is_a_leaf_with_its_tapes_root(redis_sync: redis.Redis, place: Place) -> None:
    """The leaf binds every entry of the tape, and the values behind the salted commitments."""
    run = ended_run(redis_sync, calls=20)
    with taking(redis_sync, place) as one:
        one.drain()
        accepted, finished = one.leaves()
        check_archive(one.archive)
        lines = [orjson.loads(line) for line in one.archive.tape(finished["tape"]["id"])]
        first = one.archive.payload(f"tape/{finished['tape']['id']}/1")
        script = one.archive.payload(f"script/acme/{SHA}")
        given = one.archive.payload(f"input/{run}")
        surface = one.archive.payload(f"surface/acme/{SHA}")
    assert surface is not None
    assert (finished["surface_sha256"], surface.data) == (SHA, b'{"mux":{}}')
    assert (accepted["kind"], finished["kind"]) == ("run.accepted", "run.finished")
    assert finished["id"] == run
    assert (finished["key"], finished["reason"], finished["workers"]) == ("key_1", "ok", ["w1"])
    assert finished["calls"] == {"succeeded": 20, "open": 0}
    assert [line["seq"] for line in lines] == list(range(1, 44))
    assert lines[2]["facts"] == {"seq": 1, "name": "mux.create_asset"}
    assert first is not None
    assert hashlib.sha256(first.data).hexdigest() == lines[0]["body"]
    salt = orjson.loads(first.data[32:])["salt"]
    for name in ("input", "result", "output"):
        assert finished[name] == commit(salt, name, SHA)
    assert accepted["input"] == finished["input"]
    assert script is not None
    assert script.data == b"return 1"
    assert given is not None
    assert given.data == b'{"a":1}'


def test_a_tape_lives_on_until_it_is_archived_and_then_its_time(
    redis_sync: redis.Redis, place: Place
) -> None:
    """An ended run's tape has no end of life before the commit; one that went on keeps it."""
    run, again = ended_run(redis_sync), ended_run(redis_sync)
    assert redis_sync.ttl(keys.tape(run)) == -1
    fields: Any = {"kind": "started", "at_ms": 1, "body": "{}"}
    redis_sync.xadd(keys.tape(again), fields, id="6-0")
    with taking(redis_sync, place) as one:
        one.drain()
        assert 0 < redis_sync.ttl(keys.tape(run)) <= 3_600
        assert redis_sync.ttl(keys.tape(again)) == -1
        end_run(redis_sync, again)
        one.drain()
        check_archive(one.archive)
        ends = [leaf for leaf in one.leaves() if leaf["kind"] == "run.finished"]
    assert [leaf["tape"]["entries"] for leaf in ends] == [5, 5, 7]
    assert 0 < redis_sync.ttl(keys.tape(again)) <= 3_600


def test_payloads_are_sealed_for_their_tenant_and_their_place(
    redis_sync: redis.Redis, place: Place
) -> None:
    """No reply, input or script stands in the archive; moved, or without its key, none opens."""
    masters = MasterKeys.parse(new_line("one"))
    run = ended_run(redis_sync, reply=SECRET_REPLY)
    ended_run(redis_sync, tenant="other", reply=SECRET_REPLY)
    with taking(redis_sync, place, masters) as one:
        one.drain()
        check_archive(one.archive)
        tape = next(leaf for leaf in one.leaves() if leaf["kind"] == "run.finished")["tape"]["id"]
        payload = one.archive.payload(f"tape/{tape}/4")
        assert payload is not None
        reader = PayloadReader(one.archive, masters)
        assert SECRET_REPLY.encode() in (reader.open(payload) or b"")
        assert PayloadReader(one.archive, None).open(payload) is None
        assert set(one.archive.data_keys()) == {"acme", "other"}
        given = one.archive.payload(f"input/{run}")
        assert given is not None
        assert reader.open(given) == b'{"a":1}'
        with pytest.raises(VaultDamaged):
            reader.open(replace(given, id="input/other"))
        one.archive.keep_data_key(one.epoch, "acme", DataKey.new("acme", masters).wrap(masters))
        assert reader.open(given) is None
    data = [path.read_bytes() for path in place.directory.rglob("*") if path.is_file()]
    data += place.bucket.objects.values() if place.bucket else []
    for one_file in data:
        assert SECRET_REPLY.encode() not in one_file
        assert b"return 1" not in one_file


def test_an_entry_that_was_committed_is_never_taken_again(
    redis_sync: redis.Redis, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the commit and before the deletion: the entries are known and only deleted."""
    plain(redis_sync, 3)
    ended_run(redis_sync)
    with taking(redis_sync, place) as one:
        with monkeypatch.context() as patch:
            patch.setattr(one.sequencer, "_forget", list)
            one.sequencer.once()
        before = one.leaves()
    plain(redis_sync, 1)
    with taking(redis_sync, place) as one:
        one.drain()
        check_archive(one.archive)
        assert one.leaves()[:-1] == before
        assert len(one.leaves()) == 6
    assert redis_sync.xlen(keys.LEDGER_INBOX) == 0


def test_a_new_entry_with_an_older_id_is_taken(redis_sync: redis.Redis, place: Place) -> None:
    """A Redis that lost its data, or its clock, may count from earlier: nothing is skipped."""
    plain(redis_sync, 2)
    with taking(redis_sync, place) as one:
        one.drain()
        redis_sync.delete(keys.LEDGER_INBOX)
        redis_sync.xadd(keys.LEDGER_INBOX, {"kind": "leaf", "leaf": b"{}"}, id="5-0")
        one.drain()
        assert one.archive.size == 3


def test_who_was_outrun_writes_nothing(redis_sync: redis.Redis, place: Place) -> None:
    """A sequencer that slept while another took over cannot commit, stage, key or sign."""
    plain(redis_sync, 1)
    with taking(redis_sync, place) as old:
        epoch = old.epoch
        redis_sync.delete(keys.LEDGER_LOCK)
        with taking(redis_sync, place) as new:
            for write in (
                old.sequencer.once,
                lambda: old.archive.commit(epoch, [NewLeaf("1-1", b"{}")]),
                lambda: old.archive.stage(epoch, [], []),
                lambda: old.archive.keep_data_key(epoch, "acme", b""),
                lambda: old.archive.keep_checkpoint(epoch, 1, ""),
            ):
                with pytest.raises(Outrun):
                    write()
            assert redis_sync.xlen(keys.LEDGER_INBOX) == 1
            new.drain()
            assert new.archive.size == 1


def test_a_second_sequencer_rests(redis_sync: redis.Redis, place: Place) -> None:
    """While one holds the lock another does nothing."""
    with taking(redis_sync, place) as one:
        rival = type(one.sequencer)(redis_sync, one.archive, one.sequencer._sealer, one.checkpoints)
        assert not rival.take_over()
        assert one.epoch == 1


def test_nothing_in_the_inbox_or_on_a_tape_stops_the_sequencer(
    redis_sync: redis.Redis, place: Place
) -> None:
    """Entries that came from nobody of ours are recorded as what they are, and the rest goes on."""
    hostile: list[dict[Any, Any]] = [
        {"x": "y"},
        {"kind": "leaf", "leaf": "x" * 70_000},
        {"kind": "leaf", "leaf": b"\xff\x00"},
        {"kind": "leaf", "leaf": "[1]"},
        {"kind": "run.accepted", "leaf": '{"id":1,"tenant":[],"at_ms":"x"}'},
        {
            "kind": "run.accepted",
            "leaf": '{"id":"r","tenant":"t","script_sha256":"q","at_ms":99999999999999999999}',
        },
        {"kind": "run.finished"},
        {"kind": "run.finished", "run": b"\xff", "seq": "-1", "ttl_s": "9" * 30, "at_ms": "x"},
        {"kind": "run.finished", "run": "bad", "seq": "9", "tenant": "acme"},
    ]
    for fields in hostile:
        redis_sync.xadd(keys.LEDGER_INBOX, fields)
    bodies = [b"", b"[]", b'{"salt":1,"input_sha256":[],"limits":"' + b"x" * 70_000 + b'"}']
    bodies += [orjson.dumps({"usage": {"\x00" * 99: "y"}, "reason": "\x00" * 900, "worker": {}})]
    for seq, (kind, body) in enumerate(
        zip(("accepted", "\x00", "accepted", "finished"), bodies, strict=True), 1
    ):
        redis_sync.xadd(keys.tape("bad"), {"kind": kind, "body": body}, id=f"{seq + 1}-0")
    made = plain(redis_sync, 1)

    with taking(redis_sync, place) as one:
        one.drain()
        leaves = list(one.archive.leaves())
        assert len(leaves) == len(hostile) + 1
        assert leaves[-1].data == made[0]
        last = orjson.loads(leaves[-2].data)
        assert last["tape"]["whole"] is False
        assert (last["reason"], last["usage"], last["input"]) == (None, {}, None)
        assert orjson.loads(leaves[0].data)["kind"] == "inbox.unreadable"
    assert redis_sync.xlen(keys.LEDGER_INBOX) == 0


def test_a_tape_greater_than_a_batch_goes_to_the_disk_piece_by_piece(
    redis_sync: redis.Redis, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten megabytes of replies are staged ahead of the commit, and are whole after it."""
    ended_run(redis_sync, calls=40, reply="x" * 300_000)
    plain(redis_sync, 1)
    with taking(redis_sync, place) as one:
        staged: list[int] = []
        stage = one.archive.stage

        def watch(epoch: int, lines: Any, payloads: Any) -> None:
            staged.append(one.archive.size)
            stage(epoch, lines, payloads)

        monkeypatch.setattr(one.archive, "stage", watch)
        one.drain()
        check_archive(one.archive)
        assert len(staged) > 1
        assert set(staged) == {0}
        assert one.archive.size == 3


# --- checkpoints ---------------------------------------------------------------------------------


def cut_off(directory: Path, size: int) -> None:
    """Cut an archive back to its first `size` leaves and their tiles, without a trace."""
    archive = SqliteArchive(directory / NAME, write=True)
    leaves = [one.data for one in archive.leaves()][:size]
    archive.close()
    (directory / NAME).unlink()
    for rest in directory.glob(f"{NAME}-*"):
        rest.unlink()
    made = SqliteArchive.create(directory / NAME)
    made.commit(made.take_over(), [NewLeaf(f"{n}-1", data) for n, data in enumerate(leaves)])
    made.close()


def test_an_archive_that_was_cut_off_is_refused(redis_sync: redis.Redis, tmp_path: Path) -> None:
    """One checkpoint elsewhere is enough: Redis has it, or the witness does."""
    (tmp_path / "witness").mkdir()
    witness = DirectoryWitness(tmp_path / "witness")
    plain(redis_sync, 5)
    with taking(redis_sync, tmp_path, witnesses=[witness]) as one:
        one.drain()
    cut_off(tmp_path, 4)
    words = "the archive has 4 leaves, but a checkpoint of 5 was signed"

    with (
        pytest.raises(LedgerDamaged, match=rf"{words} \(Redis has it\)"),
        taking(redis_sync, tmp_path),
    ):
        pass
    redis_sync.flushall()
    with (
        pytest.raises(LedgerDamaged, match=rf"{words} \(the witness has it\)"),
        taking(redis_sync, tmp_path, witnesses=[witness]),
    ):
        pass
    assert redis_sync.get(keys.LEDGER_LOCK) is None


def test_an_archive_with_another_past_is_refused(redis_sync: redis.Redis, tmp_path: Path) -> None:
    """The same number of leaves and another root is not signed again."""
    plain(redis_sync, 5)
    with taking(redis_sync, tmp_path) as one:
        one.drain()
    cut_off(tmp_path, 3)
    archive = SqliteArchive(tmp_path / NAME, write=True)
    others = [NewLeaf(f"x{n}", b"{}") for n in range(4)]
    archive.commit(archive.take_over(), others)
    archive.close()

    with (
        pytest.raises(LedgerDamaged, match="tree of 5 leaves is not the one that was signed"),
        taking(redis_sync, tmp_path),
    ):
        pass


def test_a_forged_checkpoint_stops_nobody(redis_sync: redis.Redis, tmp_path: Path) -> None:
    """Who can write to Redis can put anything there: without a signature it says nothing."""
    plain(redis_sync, 1)
    note = KEY.sign(9, bytes(32)).replace("\n9\n", "\n8\n")
    for forged in (note, "x", "", "\xff", "a\n\n\u2014 b c"):
        redis_sync.set(keys.LEDGER_CHECKPOINT, forged)
        with taking(redis_sync, tmp_path) as one:
            one.drain()
    assert redis_sync.get(keys.LEDGER_CHECKPOINT) == one_note(Place(tmp_path)).encode()
