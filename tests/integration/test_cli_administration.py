"""`moonsand tenants`, `keys`, `limits` and `usage`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import redis

from core import keys
from core.redis_client import connect
from tenancy.key_text import is_well_formed
from tests.command import environment, moonsand
from tests.sequencing import ended_run, taking


class Shell:
    """Runs commands against one Redis and one archive."""

    def __init__(self, redis_url: str, home: Path) -> None:
        self.env = environment(home, REDIS_URL=redis_url, MOONSAND_LEDGER_DIR=str(home / "ledger"))

    def __call__(self, *words: str, code: int = 0) -> CompletedProcess[str]:
        """Run one command that must leave with `code`, and show no trace of ours."""
        done = moonsand(*words, env=self.env)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def shell(redis_url: str, tmp_path: Path) -> Shell:
    """A shell beside an empty Redis."""
    return Shell(redis_url, tmp_path)


def test_a_tenants_life_from_the_command_line(shell: Shell) -> None:
    """Made, shown, suspended, resumed, deleted; what cannot be is refused with exit code 2."""
    assert shell("tenants", "create", "acme").stdout.split()[0] == "acme"
    assert "already" in shell("tenants", "create", "acme", code=2).stderr
    assert "not a tenant name" in shell("tenants", "create", "=cmd|'/c'!A1", code=2).stderr
    assert "there is no tenant" in shell("tenants", "show", "nobody", code=2).stderr
    assert "suspended since" in shell("tenants", "suspend", "acme").stdout
    shell("tenants", "resume", "acme")
    assert "is active" in shell("tenants", "delete", "acme", "--yes", code=2).stderr
    shell("tenants", "suspend", "acme")
    assert shell("tenants", "delete", "acme", code=130).stdout.startswith("Delete tenant acme")
    assert "deleted since" in shell("tenants", "delete", "acme", "--yes").stdout
    assert "not given again" in shell("tenants", "create", "acme", code=2).stderr
    (row,) = shell("tenants", "list", "--json").stdout.splitlines()
    assert (json.loads(row)["name"], json.loads(row)["state"]) == ("acme", "deleted")


def test_a_keys_life_from_the_command_line(shell: Shell, redis_url: str) -> None:
    """The text is on stdout alone, once; role, expiry, rotation and change are shown."""
    made = shell("keys", "create", "--tenant", "acme", "--role", "viewer", "--expires-in", "90d")
    plain = made.stdout.strip()
    assert is_well_formed(plain)
    assert plain not in made.stderr
    key_id = made.stderr.split()[0]
    (row,) = shell("keys", "list", "--tenant", "acme", "--json").stdout.splitlines()
    shown = json.loads(row)
    assert shown["scopes"] == ["runs:read", "triggers:read", "usage:read"]
    assert shown["expires_ms"] > shown["created_ms"] + 89 * 86_400_000
    assert not {"digest", "previous"} & shown.keys()
    rotated = shell("keys", "rotate", key_id, "--tenant", "acme", "--grace", "1h")
    assert is_well_formed(rotated.stdout.strip())
    assert "administers nothing" in rotated.stderr
    changed = shell(
        "keys", "change", key_id, "--tenant", "acme", "--role", "admin", "--never-expires"
    )
    assert "keys:admin" in changed.stdout
    assert "until" not in changed.stdout
    shell("keys", "revoke", key_id, "--tenant", "acme")
    with connect(redis_url) as client:
        assert client.hlen(keys.KEYS) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "create", "--role", "viewer", "--scope", "tenants:admin"),
        ("keys", "create", "--role", "root"),
        ("keys", "create", "--scope", "runs:*"),
        ("keys", "create", "--tenant", "acme", "--role", "service"),
        ("keys", "create", "--expires-in", "soon"),
        ("keys", "create", "--expires-in", "0s"),
        ("keys", "create", "--expires-in", "-1d"),
        ("keys", "create", "--expires-in", "999999999d"),
        ("keys", "create", "--name", "a\nb"),
        ("keys", "create", "--name", "\x1b]0;title\x07"),
        ("keys", "create", "--name", "x\u2028y\u202e"),
        ("keys", "create", "--name", ""),
        ("keys", "rotate", "key_1"),
        ("keys", "rotate", "key_1", "--grace", "31d"),
        ("keys", "change", "key_1", "--name", "x"),
        ("keys", "revoke", "../key"),
        ("limits", "set", "weight"),
        ("limits", "set", "weight=-1", "--tenant", "acme"),
        ("limits", "set", "weight=1", "weight=2"),
        ("limits", "set", "weight=1", "--tenant", "nobody"),
        ("limits", "set", "suspended_ms=1", "--tenant", "acme"),
        ("limits", "remove", "nothing"),
        ("limits", "show", "--tenant", "nobody"),
        ("usage", "--from", "yesterday"),
        ("usage", "--from", "2026-02-02", "--to", "2026-02-01"),
        ("usage", "--csv", "--json"),
        ("usage", "--archive", "/nowhere"),
    ],
)
def test_what_is_wrong_is_one_line_and_changes_nothing(
    shell: Shell, redis_url: str, words: tuple[str, ...]
) -> None:
    """Exit code 2, one line of what is wrong (and a hint), nothing on stdout, nothing written."""
    done = shell(*words, code=2)
    lines = done.stderr.splitlines()
    assert lines[0].startswith("moonsand: ")
    assert len(lines) <= 2
    assert done.stdout == ""
    with connect(redis_url) as client:
        assert client.dbsize() == 0


def test_limits_from_the_command_line(shell: Shell) -> None:
    """Set, shown and taken off by name; all names are listed."""
    shell("tenants", "create", "acme")
    shown = shell("limits", "set", "runs_per_day=500", "ceiling.cpu_ms=1_000", "--tenant", "acme")
    assert shown.stdout == "ceiling.cpu_ms=1000\nruns_per_day=500\n"
    left = shell("limits", "remove", "runs_per_day", "--tenant", "acme").stdout
    assert left == "ceiling.cpu_ms=1000\n"
    assert json.loads(shell("limits", "show", "--tenant", "acme", "--json").stdout) == {
        "ceiling.cpu_ms": 1_000
    }
    assert "has no key" in shell("limits", "show", "--tenant", "acme", "--key", "k", code=2).stderr
    names = shell("limits", "names").stdout.splitlines()
    assert len(names) == 20
    assert any(line.startswith("calls_per_minute.<integration>") for line in names)


def test_usage_from_the_command_line(shell: Shell, redis_sync: redis.Redis, tmp_path: Path) -> None:
    """A table with a total, CSV, an object a line; beside a named archive nothing is written."""
    for tenant in ("acme", "beta"):
        ended_run(redis_sync, tenant=tenant, calls=2)
    (tmp_path / "ledger").mkdir()
    with taking(redis_sync, tmp_path / "ledger") as one:
        one.drain()
    days = ("--from", "1970-01-01", "--to", "2100-01-01")
    assert "tenant name" in shell("usage", *days, "--tenant", "NO SUCH", code=2).stderr
    table = [line.split() for line in shell("usage", *days).stdout.splitlines()]
    assert (table[0][0], table[-1][0]) == ("day", "total")
    rows = shell("usage", *days, "--json").stdout.splitlines()
    assert [json.loads(row)["called"] for row in rows] == [{"mux": 2}] * 2
    text = shell("usage", *days, "--csv", "--tenant", "beta").stdout.splitlines()
    assert len(text) == 2
    assert text[1].split(",")[1] == "beta"
    files = sorted(path.name for path in (tmp_path / "ledger").iterdir())
    assert any(name.startswith("usage-") for name in files)
    for path in (tmp_path / "ledger").glob("usage-*"):
        path.unlink()
    shell("usage", *days, "--archive", str(tmp_path / "ledger"))
    assert not list((tmp_path / "ledger").glob("usage-*"))
