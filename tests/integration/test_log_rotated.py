"""Another key signs the log: what the old one signed stays good, what it signs later is nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path

import pytest
import redis

from core import keys
from core.errors import Invalid
from ledger.audit import verify_archive
from ledger.audit_source import open_source
from ledger.checkpoints import Checkpoints
from ledger.log_keys import LogKeys, SigningKeys, rotate
from ledger.notes import SigningKey
from ledger.tiles import LedgerDamaged, root_at
from moonsand.cli import main
from tests.archive_kinds import DIRECTORY, SQLITE, Place, place_of
from tests.sequencing import KEY, plain, taking
from tools import moonsand_verify

OLD = SigningKeys(KEY)
NEW = OLD.followed_by(SigningKey(KEY.public.name, bytes(range(1, 33))))


@pytest.fixture(params=[SQLITE, DIRECTORY])
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    redis_sync: redis.Redis,
) -> Iterator[Place]:
    """A place with an archive that the old key has signed at 5 entries, and whose key changed."""
    with place_of(request.param, tmp_path, monkeypatch) as made:
        plain(redis_sync, 5)
        with taking(redis_sync, made) as one:
            one.drain()
        with closing(made.create()) as archive:
            assert rotate(archive, NEW, 9) == rotate(archive, NEW, 10) == 5
        yield made


def checks(place: Place, redis_sync: redis.Redis, held: SigningKeys) -> None:
    """Begin as a sequencer with these keys does, and sign."""
    with closing(place.create()) as archive:
        epoch = archive.take_over()
        checkpoints = Checkpoints(archive, held, redis_sync, (), 0.0)
        checkpoints.check()
        checkpoints.maybe(epoch, at_once=True)


def findings(place: Place, trusted: LogKeys) -> list[str]:
    """Verify with both verifiers, which must agree; give what one of them says."""
    path = Path(place.objects) if place.objects else place.directory
    found: list[str] = []
    with closing(open_source(path)) as source:
        verify_archive(source, trusted, lambda one: found.append(str(one)))
    with redirect_stdout(io.StringIO()) as said:
        code = moonsand_verify.main([str(path), "--key", str(trusted)])
    assert code == bool(found), said.getvalue()
    return found


def test_checkpoints_of_both_keys_hold(place: Place, redis_sync: redis.Redis) -> None:
    """With both keys all verifies; who knows only one of them cannot say so."""
    checks(place, redis_sync, NEW)
    assert findings(place, NEW.public) == []
    assert findings(place, OLD.public) != []
    assert findings(place, LogKeys([NEW.key.public])) != []


def test_the_old_key_signs_no_more(place: Place, redis_sync: redis.Redis) -> None:
    """A sequencer with it does not begin; what somebody signs with it all the same is found."""
    with pytest.raises(LedgerDamaged, match="entry 5 of the log tells that another key signs it"):
        checks(place, redis_sync, OLD)
    with closing(place.create()) as archive:
        epoch = archive.take_over()
        archive.keep_checkpoint(epoch, 6, KEY.sign(6, root_at(archive.tile, 6)))
    assert findings(place, NEW.public) == [
        "checkpoint 6: it is signed with a key that entry 5 replaced"
    ]
    with pytest.raises(LedgerDamaged, match="key that entry 5 replaced"):
        checks(place, redis_sync, NEW)


def test_a_forged_checkpoint_of_the_old_key_stops_nobody(
    place: Place, redis_sync: redis.Redis
) -> None:
    """Whoever stole it and can write to Redis says nothing by it: the sequencer goes on."""
    redis_sync.set(keys.LEDGER_CHECKPOINT, KEY.sign(99, bytes(32)))
    checks(place, redis_sync, NEW)
    assert findings(place, NEW.public) == []


def test_a_key_that_no_entry_names_does_not_sign(place: Place, redis_sync: redis.Redis) -> None:
    """The list of former keys alone changes no key, and a stranger's key changes none either."""
    other = OLD.followed_by(SigningKey(KEY.public.name, bytes(range(2, 34))))
    with pytest.raises(LedgerDamaged, match="no entry of the log tells that this key signs it"):
        checks(place, redis_sync, other)
    stranger = SigningKeys(SigningKey.new(KEY.public.name))
    with (
        closing(place.create()) as archive,
        pytest.raises(Invalid, match="not the one that signs this archive"),
    ):
        rotate(archive, stranger.followed_by(other.key), 9)


def test_the_command_writes_a_file_that_the_sequencer_takes(
    redis_sync: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It prints all keys, newest first; given again it finds the entry that is there."""
    place = Place(tmp_path)
    plain(redis_sync, 3)
    with taking(redis_sync, place) as one:
        one.drain()
    (tmp_path / "old").write_text(KEY.secret())
    monkeypatch.setenv("MOONSAND_LEDGER_KEY_FILE", str(tmp_path / "old"))
    monkeypatch.setenv("MOONSAND_LEDGER_DIR", str(tmp_path))
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["ledger", "rotate", "--to", str(tmp_path / "new")])
        said = capsys.readouterr()
        assert ended.value.code == 0
        assert "entry 3 tells of it" in said.err
        assert "PRIVATE" not in said.out + said.err
    made = SigningKeys.parse((tmp_path / "new").read_text())
    assert said.out == f"{made.public}\n"
    assert str(made.former[0]) == str(KEY.public)
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    checks(place, redis_sync, made)
    assert findings(place, made.public) == []
