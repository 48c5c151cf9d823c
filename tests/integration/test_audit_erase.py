"""Erasing: nothing readable is left in archive and Redis, every proof holds, and all tell of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as Lost

from core import keys
from core.redis_client import connect
from core.redis_server import PrivateRedis
from ledger.archive import Outrun
from ledger.erasing import Wish, erase
from ledger.receipts import check_receipt, make_receipt
from ledger.sqlite_archive import NAME, SqliteArchive
from runs.erasing import forget_scripts
from tenancy.master_keys import MasterKeys, new_line
from tests.archive_kinds import DIRECTORY, place_of
from tests.archives import sha, true_run, verified
from tests.command import environment, moonsand
from tests.deadline import Deadline
from tests.integration.test_erase_redis_log import log_bytes
from tests.property.test_archive_mutations import MASTERS, MASTERS_LINE, second_opinion
from tests.sequencing import KEY, taking

WORDS = ("input", "script", "result", "output", "reply")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[tuple[redis.Redis, str, Path]]:
    """A Redis of its own, with the directory of its files: its append-only file is written anew."""
    home = tmp_path / "redis"
    home.mkdir()
    with PrivateRedis(home) as server, connect(server.url) as client:
        yield client, server.url, home


def texts(client: redis.Redis) -> bytes:
    """Give all that Redis holds, of every type, as one text."""
    found: list[Any] = []
    for key in client.scan_iter(count=1_000):
        found.append(key)
        kind = client.type(key)
        if kind == b"string":
            found.append(client.get(key))
        elif kind == b"hash":
            found.append(client.hgetall(key))
        elif kind == b"stream":
            found.append(client.xrange(key))
        elif kind == b"zset":
            found.append(client.zrange(key, 0, -1))
        else:
            found.append(client.dump(key))
    return repr(found).encode()


def archive_bytes(directory: Path) -> bytes:
    """Give every byte of an archive's files."""
    return b"".join(one.read_bytes() for one in directory.iterdir() if one.is_file())


def erased_by_command(directory: Path, url: str, *arguments: str) -> str:
    """Erase with the real command."""
    env = environment(directory.parent, REDIS_URL=url)
    done = moonsand("audit", "erase", "--archive", str(directory), "--yes", *arguments, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_good(directory: Path, masters: MasterKeys | None = None) -> int:
    """Let both verifiers look; give how many payloads they find erased."""
    done, found = verified(directory, masters=masters)
    assert found == []
    (directory.parent / "masters").write_text(MASTERS_LINE)
    code, said = second_opinion(directory)
    assert code == 0, said
    assert done is not None
    assert done.tapes is not None
    assert f"{done.tapes.erased} are erased" in said
    return done.tapes.erased


@pytest.mark.parametrize("masters", [None, MASTERS], ids=["clear", "sealed"])
def test_of_an_erased_run_nothing_readable_is_left(
    own_redis: tuple[redis.Redis, str, Path], tmp_path: Path, masters: MasterKeys | None
) -> None:
    """Not in a page of the file, its log, a key of Redis or its append-only file; proofs hold."""
    client, url, home = own_redis
    directory = tmp_path / "ledger"
    directory.mkdir()
    with taking(client, directory, masters) as one:
        gone = true_run(client, "acme", word="goner", calls=3)
        kept = true_run(client, "acme", word="keeper")
        one.drain()
    if masters is None:
        assert all(f"goner-{word}".encode() in archive_bytes(directory) for word in WORDS)
    said = erased_by_command(directory, url, "--run", gone)
    assert said == "erased 13 payloads of 1 runs\n"
    left = archive_bytes(directory) + texts(client)
    assert b"goner" not in left
    assert b"keeper" in left
    assert client.exists(keys.run(gone), keys.tape(gone)) == 0
    assert client.exists(keys.run(kept), keys.tape(kept)) == 2
    with taking(client, directory, masters) as one:
        one.drain()
        receipt = make_receipt(one.archive, gone, "acme")
        assert receipt is not None
        check_receipt(receipt, KEY.public)
        assert one.leaves()[-1]["scope"] == "run"
    assert check_good(directory, masters) == 13
    Deadline().until(lambda: b"goner" not in log_bytes(home), "the new append-only file")


def test_a_tenants_key_is_destroyed(
    own_redis: tuple[redis.Redis, str, Path], tmp_path: Path
) -> None:
    """All of the tenant goes, its data key too; others stay; a copy of payloads opens no more."""
    client, url, _ = own_redis
    directory = tmp_path / "ledger"
    directory.mkdir()
    with taking(client, directory, MASTERS) as one:
        runs = [true_run(client, "acme", word=f"goner{number}") for number in range(3)]
        true_run(client, "beta", word="keeper")
        one.drain()
        assert set(one.archive.data_keys()) == {"acme", "beta"}
    erased_by_command(directory, url, "--tenant", "acme")
    assert b"goner" not in archive_bytes(directory) + texts(client)
    assert client.exists(*(keys.run(run) for run in runs)) == 0
    with closing(SqliteArchive(directory / NAME, write=False)) as archive:
        assert set(archive.data_keys()) == {"beta"}
    with taking(client, directory, MASTERS) as one:
        true_run(client, "acme", word="later")  # a tenant may come again, with a new key
        one.drain()
        assert set(one.archive.data_keys()) == {"acme", "beta"}
    assert check_good(directory, MASTERS) >= 3 * 8


def test_by_age_the_older_runs_go(own_redis: tuple[redis.Redis, str, Path], tmp_path: Path) -> None:
    """Runs that ended before; a script that a younger run has stays; a second time finds none."""
    client, url, _ = own_redis
    directory = tmp_path / "ledger"
    directory.mkdir()
    with taking(client, directory) as one:
        true_run(client, "acme", word="goner", script="return 'shared'")
        true_run(client, "beta", word="goner")
        one.drain()
    assert "of 1 runs" in erased_by_command(
        directory, url, "--older-than", "1d", "--tenant", "beta"
    )
    check_good_after_signing(client, directory)
    assert "of 1 runs" in erased_by_command(directory, url, "--older-than", "1d")
    assert "erased 0 payloads of 0 runs" in erased_by_command(directory, url, "--older-than", "1d")
    assert b"goner" not in archive_bytes(directory) + texts(client)
    check_good_after_signing(client, directory)


def check_good_after_signing(client: redis.Redis, directory: Path) -> None:
    """Let the sequencer sign what was appended, and verify."""
    with taking(client, directory) as one:
        one.drain()
    check_good(directory)


def test_without_its_redis_nothing_is_erased(tmp_path: Path, redis_sync: redis.Redis) -> None:
    """The command says what to do, in words, and the archive is as it was."""
    directory = tmp_path / "ledger"
    directory.mkdir()
    with taking(redis_sync, directory) as one:
        run = true_run(redis_sync, "acme", word="goner")
        one.drain()
    env = environment(tmp_path, REDIS_URL=f"unix://{tmp_path}/nobody.sock")
    arguments = ["audit", "erase", "--archive", str(directory), "--yes", "--run", run]
    done = moonsand(*arguments, env=env)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Redis does not do its part" in done.stderr
    assert "erase again" in done.stderr
    assert b"goner-input" in archive_bytes(directory)
    assert check_good(directory) == 0


def test_an_archive_of_objects_is_erased_by_the_same_command(
    own_redis: tuple[redis.Redis, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No object holds a word of the run afterwards; `audit verify` says how many are erased."""
    client, url, _ = own_redis
    with place_of(DIRECTORY, tmp_path, monkeypatch) as place:
        with taking(client, place) as one:
            run = true_run(client, "acme", word="goner")
            true_run(client, "acme", word="keeper")
            one.drain()
        objects = Path(place.objects)
        assert erased_by_command(objects, url, "--run", run) == "erased 9 payloads of 1 runs\n"
        files = [one for one in tmp_path.rglob("*") if one.is_file() and home_of(one, tmp_path)]
        left = b"".join(one.read_bytes() for one in files)
        assert b"goner" not in left + texts(client)
        assert b"keeper" in left
        done = moonsand("audit", "verify", str(objects), "--log-key", str(KEY.public))
        assert done.returncode == 0, done.stdout
        assert "9 payloads are erased" in done.stdout
        assert "the last 1 are not signed yet" in done.stdout


def home_of(file: Path, base: Path) -> bool:
    """Tell whether a file is not one of Redis."""
    return file.relative_to(base).parts[0] != "redis"


def test_a_script_stays_as_long_as_a_run_has_it(
    own_redis: tuple[redis.Redis, str, Path], tmp_path: Path
) -> None:
    """What runs share goes with the last of them, in the archive and in Redis."""
    client, url, _ = own_redis
    directory = tmp_path / "ledger"
    directory.mkdir()
    with taking(client, directory) as one:
        runs = [true_run(client, "acme", script="return 'shared'") for _ in range(2)]
        one.drain()
    payload = f"script/acme/{sha('return ' + chr(39) + 'shared' + chr(39))}"
    for number, run in enumerate(runs, 1):
        erased_by_command(directory, url, "--run", run)
        with closing(SqliteArchive(directory / NAME, write=False)) as archive:
            assert (archive.payload(payload) is None) == (number == 2)
        assert (b"return 'shared'" in archive_bytes(directory)) == (number == 1)
        check_good_after_signing(client, directory)


def test_a_sequencer_at_work_writes_nothing_with_a_destroyed_key(
    redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """Erasing takes its epoch: it is outrun, and after taking over again it makes a new key."""
    masters = MasterKeys.parse(new_line("m"))
    with taking(redis_sync, tmp_path, masters) as one:
        true_run(redis_sync, "acme")
        one.drain()
        erase_in(tmp_path, Wish(tenant="acme"))
        true_run(redis_sync, "acme")
        with pytest.raises(Outrun):
            one.drain()
    with taking(redis_sync, tmp_path, masters) as one:
        one.drain()
    _, found = verified(tmp_path, masters=masters)
    assert found == []


def erase_in(directory: Path, wish: Wish, elsewhere: Any = lambda _: None) -> int:
    """Erase in the archive alone; give how many payloads."""
    with closing(SqliteArchive(directory / NAME, write=True)) as archive:
        return erase(archive, wish, 3_000, elsewhere).payloads


def test_a_failure_in_redis_leaves_all_to_a_second_try(
    redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """Redis is lost before the archive is touched: nothing is told to be erased that is not."""
    with taking(redis_sync, tmp_path) as one:
        run = true_run(redis_sync, "acme", word="goner")
        one.drain()

    def lost(_: object) -> None:
        raise Lost("gone")

    with pytest.raises(Lost):
        erase_in(tmp_path, Wish(run=run), lost)
    _, found = verified(tmp_path)
    assert found == []
    assert b"goner-input" in archive_bytes(tmp_path)
    assert erase_in(tmp_path, Wish(run=run)) == 10
    assert erase_in(tmp_path, Wish(run=run)) == 0  # done, and done again: no harm


def test_a_payload_that_vanished_without_a_word_is_found(
    redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """Only an entry of the log makes a missing payload good; what comes back after it is found."""
    with taking(redis_sync, tmp_path) as one:
        run = true_run(redis_sync, "acme")
        one.drain()
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        kept = db.execute("SELECT * FROM payloads WHERE id LIKE 'input/%'").fetchone()
        db.execute("DELETE FROM payloads WHERE id LIKE 'input/%'")
        db.commit()
    _, found = verified(tmp_path)
    assert found == [
        f"entry 1 (run.finished {run}): its input is missing, and no entry tells that it was erased"
    ]
    erase_in(tmp_path, Wish(run=run))
    with taking(redis_sync, tmp_path) as one:
        one.drain()
    assert verified(tmp_path)[1] == []
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        db.execute("INSERT INTO payloads VALUES (?, ?, ?, ?, ?, ?)", kept)
        db.commit()
    _, found = verified(tmp_path)
    assert found == [
        f"entry 1 (run.finished {run}): its input was erased, as an entry tells, and is there"
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to erase"),
        (["--run", "run_x"], "a run id is"),
        (["--run", "run_" + "0" * 26, "--tenant", "acme"], "--run stands alone"),
        (["--run", "run_" + "0" * 26], "has not ended in this archive"),
        (["--older-than", "soon"], "an age is a number of days or hours"),
        (["--tenant", "../x"], "tenant"),
    ],
)
def test_what_cannot_be_erased_is_refused(
    redis_sync: redis.Redis, redis_url: str, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """A wrong wish deletes nothing and says why."""
    with taking(redis_sync, tmp_path) as one:
        true_run(redis_sync, "acme")
        one.drain()
    env = environment(tmp_path, REDIS_URL=redis_url)
    given = ["audit", "erase", "--archive", str(tmp_path), "--yes", *arguments]
    done = moonsand(*given, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert verified(tmp_path)[1] == []


def test_a_script_goes_while_another_is_submitted_all_the_time(redis_sync: redis.Redis) -> None:
    """What runs still use is submitted again and again: what nobody uses goes all the same."""
    used, unused = sha("used"), sha("unused")
    redis_sync.set(keys.script(used), "used")
    redis_sync.set(keys.script(unused), "unused")
    redis_sync.hset(keys.run("run_1"), "script_sha256", used)

    class Busy(redis.Redis):
        """A connection whose every look at all runs coincides with a submission."""

        def scan(self, *args: Any, **kwargs: Any) -> Any:
            redis_sync.expire(keys.script(used), 600)
            return super().scan(*args, **kwargs)

    with Busy(connection_pool=redis_sync.connection_pool) as client:
        forget_scripts(client, {used, unused})
    assert redis_sync.exists(keys.script(used)) == 1
    assert redis_sync.exists(keys.script(unused)) == 0
