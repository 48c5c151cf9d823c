"""`moonsand credentials`: values come in by stdin, file, prompt or environment, and never out."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from core import keys
from tenancy.master_keys import MasterKeys, new_line
from tests.command import MOONSAND, environment, moonsand
from tests.deadline import Deadline

SECRET = "canary-cli-secret"
MUX = {"token_id": "id", "token_secret": SECRET}


@pytest.fixture
def env(redis_url: str, tmp_path: Path) -> dict[str, str]:
    """A master key, and a Redis."""
    path = tmp_path / "vault.keys"
    path.write_text(new_line("one"))
    return environment(REDIS_URL=redis_url, MOONSAND_VAULT_KEYS_FILE=str(path))


def set_mux(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Keep an account given on stdin."""
    return moonsand("credentials", "set", "mux", *arguments, env=env, stdin=json.dumps(MUX))


def test_every_way_in_but_an_argument(
    env: dict[str, str], tmp_path: Path, redis_sync: redis.Redis
) -> None:
    """stdin, file and environment are taken; a value as an option is refused and not repeated."""
    file = tmp_path / "token.secret"
    file.write_text(f"{SECRET}\n")
    more = ("--env", "token_id=MUX_ID", "--file", f"token_secret={file}")
    both = {**env, "MUX_ID": "id"}
    taken = [
        set_mux(env),
        moonsand("credentials", "set", "mux", "files", *more, env=both),
    ]
    assert [one.returncode for one in taken] == [0, 0], taken
    wrong = [
        ("--token-secret", SECRET),
        (SECRET,),
        (f"token_secret={SECRET}", "and\nmore"),
        ("--env", SECRET),
        ("--env", f"token_secret={SECRET}"),
        ("--file", f"token_secret={SECRET}"),
    ]
    refused = [moonsand("credentials", "set", "mux", "default", *one, env=env) for one in wrong]
    refused += [set_mux(env, SECRET), moonsand("integrations:configure", "mux", SECRET, env=env)]
    assert [one.returncode for one in refused] == [2] * 8
    assert "canary" not in "".join(one.stdout + one.stderr for one in [*taken, *refused])
    assert redis_sync.hlen(keys.vault_accounts("development")) == 2


@pytest.mark.parametrize(
    "given",
    ["", "null", "[]", SECRET, '{"token_id": 1}', json.dumps({"token_id": "x"}),
     json.dumps(MUX | {"tokn": SECRET}), json.dumps(MUX | {"base_url": "ftp://x"})],
)  # fmt: skip
def test_wrong_input_is_refused_without_showing_it(
    env: dict[str, str], redis_sync: redis.Redis, given: str
) -> None:
    """Exit code 2, one line that says what is wrong, no value in it, and nothing is kept."""
    refused = moonsand("credentials", "set", "mux", env=env, stdin=given)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "canary" not in refused.stderr
    assert redis_sync.keys("ms:vault*") == []


def test_delete_erase_and_rotate(env: dict[str, str], redis_sync: redis.Redis) -> None:
    """Each does what it says, says what it did, and fails when there is nothing to do it to."""
    for arguments in (("one",), ("two",), ("one", "--tenant", "acme")):
        assert set_mux(env, *arguments).returncode == 0
    delete = ("credentials", "delete", "mux", "one")
    assert moonsand(*delete, env=env).stdout == "mux.one deleted\n"
    again = moonsand(*delete, env=env)
    assert (again.returncode, "no such account" in again.stderr) == (2, True)
    assert "mux.two  version 2" in moonsand("credentials", "list", env=env).stdout
    assert moonsand("credentials", "rotate", env=env).stdout == "0 of 2 data keys wrapped anew\n"
    before = redis_sync.get(keys.vault_key("acme"))
    anew = moonsand("credentials", "rotate", "--tenant", "acme", env=env)
    assert anew.stdout == "new data key of tenant acme; 1 accounts sealed anew\n"
    assert redis_sync.get(keys.vault_key("acme")) != before
    assert moonsand("credentials", "rotate", "--tenant", "nobody", env=env).returncode == 2
    erase = ("credentials", "erase", "--tenant", "acme")
    without = {name: one for name, one in env.items() if name != "MOONSAND_VAULT_KEYS_FILE"}
    assert moonsand(*erase, env=without).stdout == "accounts of tenant acme erased\n"
    assert moonsand(*erase, env=without).returncode == 1
    assert redis_sync.keys("ms:vault:acme*") == []
    assert moonsand("credentials", "erase", env=env).returncode == 2


def test_a_new_master_key_takes_over(
    env: dict[str, str], tmp_path: Path, redis_sync: redis.Redis
) -> None:
    """keygen, both keys, rotate, the new key alone: the accounts are still there."""
    assert set_mux(env).returncode == 0
    made = moonsand("credentials", "keygen", "two", env=env)
    assert MasterKeys.parse(made.stdout).ids == ["two"]
    path = tmp_path / "vault.keys"
    path.write_text(made.stdout + path.read_text())
    assert moonsand("credentials", "rotate", env=env).stdout == "1 of 1 data keys wrapped anew\n"
    path.write_text(made.stdout)
    assert "mux.default" in moonsand("credentials", "list", env=env).stdout
    public = moonsand("credentials", "sealing-key", env=env).stdout
    assert public.startswith("two:")
    assert public != made.stdout
    assert moonsand("credentials", "keygen", "Not an id", env=env).returncode == 2
    path.write_text(new_line("three"))
    lost = moonsand("credentials", "list", env=env)
    assert (lost.returncode, lost.stdout) == (3, "")
    assert "master key that is not given" in lost.stderr


@pytest.mark.parametrize("keys_text", [None, "", "broken", "a:AAAA"])
def test_without_a_usable_master_key(
    env: dict[str, str], tmp_path: Path, redis_sync: redis.Redis, keys_text: str | None
) -> None:
    """Missing, empty or broken: every command that needs it says so, and nothing is kept."""
    path = tmp_path / "vault.keys"
    path.unlink() if keys_text is None else path.write_text(keys_text)
    for arguments in (("set", "mux"), ("list",), ("rotate",), ("delete", "mux", "one")):
        told = moonsand("credentials", *arguments, env=env, stdin=json.dumps(MUX))
        assert told.returncode == 2, told
        assert "key" in told.stderr
        assert "canary" not in told.stderr
    del env["MOONSAND_VAULT_KEYS_FILE"]
    off = set_mux(env)
    assert (off.returncode, "vault is off" in off.stderr) == (3, True)
    assert redis_sync.keys("ms:vault*") == []


@contextmanager
def prompted(env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start `set` at a terminal; give it and the terminal's other end."""
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [*MOONSAND, "credentials", "set", "mux"], env=env,
        stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    try:
        yield process, outer
    finally:
        process.kill()
        process.wait()
        os.close(outer)


def read_until(outer: int, text: bytes) -> bytes:
    """Read from a terminal until a text has come."""
    seen = b""

    def came() -> bool:
        nonlocal seen
        seen += os.read(outer, 4096)
        return text in seen

    Deadline().until(came, repr(text), seconds=20)
    return seen


def test_a_prompt_does_not_show_a_secret(env: dict[str, str], redis_sync: redis.Redis) -> None:
    """What is typed for a secret field does not come back on the terminal."""
    with prompted(env) as (process, outer):
        read_until(outer, b"Access token ID")
        os.write(outer, b"id\n")
        # The space comes last, when the terminal has thrown away what was typed until then.
        seen = read_until(outer, b"Access token secret: ")
        os.write(outer, f"{SECRET}\n".encode())
        seen += read_until(outer, b"Base URL")
        os.write(outer, b"\n")
        seen += read_until(outer, b"mux.default  version 1")
        assert process.wait(20) == 0
    assert b"canary" not in seen
    assert redis_sync.hexists(keys.vault_accounts("development"), "mux.default")


def test_ctrl_c_at_the_prompt_keeps_nothing(env: dict[str, str], redis_sync: redis.Redis) -> None:
    """Interrupted between two fields: exit code 130, no trace of Python, nothing in Redis."""
    with prompted(env) as (process, outer):
        read_until(outer, b"Access token ID")
        os.write(outer, b"id\n")
        read_until(outer, b"Access token secret")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        seen = os.read(outer, 4096)
    assert b"Traceback" not in seen
    assert redis_sync.keys("ms:vault*") == []
