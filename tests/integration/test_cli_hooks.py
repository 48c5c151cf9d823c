"""`moonsand hooks` and `callbacks`, as a user types them; no secret is ever an argument."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from core import keys
from core.redis_client import connect
from core.redis_server import PrivateRedis
from tenancy.master_keys import new_line
from tenancy.scopes import Role, Scope
from tests.api_server import ApiServer
from tests.canary import MARK
from tests.command import environment, moonsand
from triggers.hook_store import owner_of
from triggers.secret_set import SecretSet
from triggers.trigger_keys import TriggerKeys

LINE = new_line("k1")
SECRET = f"a-secret-{MARK.decode()}-for-a-hook"
ALL = tuple(Scope(one) for one in Role.DEVELOPER.scopes)


class Shell:
    """Runs commands against one API, with a key for everything here."""

    def __init__(self, api: ApiServer, home: Path) -> None:
        key = api.new_key("acme", ALL)
        self.env = environment(home, MOONSAND_URL=api.url, MOONSAND_API_KEY=key)

    def __call__(self, *words: str, code: int = 0, stdin: str = "") -> CompletedProcess[str]:
        """Run one command that must leave with `code`, and show no trace of ours."""
        done = moonsand(*words, env=self.env, stdin=stdin)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done

    def one(self, *words: str, stdin: str = "") -> dict[str, Any]:
        """Run one command with `--json`, and give its one object."""
        found: dict[str, Any] = json.loads(self(*words, "--json", stdin=stdin).stdout)
        return found


@pytest.fixture(scope="module")
def served(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """One API."""
    with ApiServer(redis_server.url, trigger_keys=LINE) as api:
        yield api


@pytest.fixture
def shell(served: ApiServer, redis_url: str, tmp_path: Path) -> Shell:
    """A shell beside an API on an empty Redis, with one saved script."""
    made = Shell(served, tmp_path)
    made("scripts", "save", "job", "-e", "return 1")
    return made


def test_a_hooks_life_from_the_command_line(shell: Shell) -> None:
    """Made without a secret, given the sender's, changed, switched off and on, deleted."""
    made = shell("hooks", "create", "assets", "job", "--scheme", "mux")
    assert "enter /v1/hooks/hok_" in made.stderr
    (row,) = shell("hooks", "list", "--json").stdout.splitlines()
    hook = json.loads(row)["id"]
    assert json.loads(row)["secrets"] == []
    shown = shell("hooks", "add-secret", hook, "--secret-file", "-", stdin=f"{SECRET}\n").stdout
    assert "secrets    s" in shown
    secret = shell.one("hooks", "show", hook)["secrets"][0]["id"]
    assert shell.one("hooks", "change", hook, "--ref", "job@1")["script_ref"] == "job@1"
    assert shell.one("hooks", "disable", hook)["enabled"] is False
    assert "  off  mux" in shell("hooks", "list").stdout
    assert shell.one("hooks", "enable", hook)["enabled"] is True
    assert shell.one("hooks", "remove-secret", hook, secret)["secrets"] == []
    assert shell("hooks", "delete", hook).stdout == f"{hook} is deleted\n"
    assert "no hook with this id" in shell("hooks", "show", hook, code=2).stderr


def test_a_secret_that_is_made_is_on_stdout_once(shell: Shell) -> None:
    """It is printed when it is made, and by nothing afterwards."""
    made = shell.one("hooks", "create", "std", "job", "--scheme", "standard-webhooks")
    assert made["secret"].startswith("whsec_")
    seen = shell("hooks", "list", "--json").stdout + shell("hooks", "show", made["id"]).stdout
    assert made["secret"] not in seen
    more = shell("hooks", "add-secret", made["id"])
    assert "secret     whsec_" in more.stdout
    assert "shown this once" in more.stderr


def test_a_secret_comes_from_the_environment_or_a_file(shell: Shell, tmp_path: Path) -> None:
    """What is wrong with where it comes from is said without it."""
    shell.env["HOOK_SECRET"] = SECRET
    plain = ("--scheme", "hmac", "--header", "X-Sig", "--encoding", "base64", "--prefix", "v1=")
    hook = shell.one("hooks", "create", "x", "job", *plain, "--secret-env", "HOOK_SECRET")
    assert len(hook["secrets"]) == 1
    assert "secret" not in hook
    assert hook["form"] == {
        "header": "X-Sig",
        "algorithm": "sha256",
        "encoding": "base64",
        "prefix": "v1=",
    }
    for words, wrong in (
        (("--secret-env", "NO_SUCH"), "not set"),
        (("--secret-file", str(tmp_path / "none")), "cannot be read"),
        (("--secret-env", "HOOK_SECRET", "--secret-file", "-"), "not both"),
    ):
        refused = shell("hooks", "create", "x", "job", "--scheme", "hmac", *words, code=2)
        assert wrong in refused.stderr
    shell.env["SHORT"] = "short"
    create = ("hooks", "create", "x", "job", "--scheme", "hmac", "--secret-env", "SHORT")
    assert "16 to 256" in shell(*create, code=2).stderr


def test_wrong_words_are_refused_with_what_is_right(shell: Shell) -> None:
    """Exit code 2, and the words name what there is."""
    assert "--scheme" in shell("hooks", "create", "x", "job", code=2).stderr
    missing = shell("hooks", "create", "x", "jib", "--scheme", "mux", code=2)
    assert "jib" in missing.stderr
    nothing = shell("hooks", "change", "hok_x", code=2)
    assert "nothing to change" in nothing.stderr
    assert (
        "public addresses" in shell("callbacks", "create", "x", "https://10.0.0.1/", code=2).stderr
    )
    assert "no delivery" in shell("callbacks", "replay", "dlv_x", code=2).stderr


def test_an_endpoints_life_from_the_command_line(shell: Shell) -> None:
    """Made with its secret, changed, exchanged, switched, deleted; its deliveries are listed."""
    made = shell.one("callbacks", "create", "ops", "https://example.com/a")
    one = made["id"]
    assert made["secret"].startswith("whsec_")
    assert made["secret"] not in shell("callbacks", "show", one).stdout
    changed = shell.one("callbacks", "change", one, "--to", "https://example.com/b")
    assert changed["url"] == "https://example.com/b"
    first = made["secrets"][0]["id"]
    assert "only secret" in shell("callbacks", "remove-secret", one, first, code=2).stderr
    assert len(shell.one("callbacks", "add-secret", one)["secrets"]) == 2
    assert len(shell.one("callbacks", "remove-secret", one, first)["secrets"]) == 1
    assert shell.one("callbacks", "disable", one)["disabled_why"] == "by_hand"
    assert f"{one}  disabled  https://example.com/b  ops" in shell("callbacks", "list").stdout
    assert shell.one("callbacks", "enable", one)["state"] == "enabled"
    run = shell("submit", "-e", "return 1", "--callback", one).stdout.strip()
    shell("cancel", run)
    (row,) = shell("callbacks", "deliveries", one, "--json").stdout.splitlines()
    delivery = json.loads(row)
    assert (delivery["subject"], delivery["state"]) == (run, "pending")
    assert run in shell("callbacks", "delivery", delivery["id"]).stdout
    assert shell.one("callbacks", "replay", delivery["id"])["state"] == "pending"
    assert shell("callbacks", "delete", one).stdout == f"{one} is deleted\n"


def test_a_trigger_key_can_be_exchanged(
    shell: Shell, served: ApiServer, redis_url: str, tmp_path: Path
) -> None:
    """After `reseal` nothing needs the old key; done again it changes nothing."""
    made = shell.one("hooks", "create", "std", "job", "--scheme", "standard-webhooks")
    shell("callbacks", "create", "ops", "https://example.com/")
    new = new_line("k2")
    file = tmp_path / "keys"
    file.write_text(f"{new}\n{LINE}\n")
    env = environment(tmp_path, REDIS_URL=redis_url, MOONSAND_TRIGGER_KEYS_FILE=str(file))
    for told in ("2 of 2", "0 of 2"):
        done = moonsand("hooks", "reseal", env=env)
        assert done.stdout.startswith(told), done.stderr
    only_new = TriggerKeys.parse(new)
    with connect(redis_url) as redis:
        fields: Any = redis.hgetall(keys.hook(made["id"]))
    kept = SecretSet.read(owner_of("acme", made["id"]), fields[b"secrets"])
    assert kept.opened(only_new) == [made["secret"]]
    without = environment(tmp_path, REDIS_URL=redis_url)
    assert "no trigger key" in moonsand("hooks", "reseal", env=without).stderr


def test_a_trigger_key_is_made_by_a_command(shell: Shell) -> None:
    """What it prints is what the setting takes."""
    line = shell("hooks", "keygen", "2027-01").stdout
    assert TriggerKeys.parse(line).current == "2027-01"
    assert shell("hooks", "keygen", "NOT OK", code=2).stdout == ""
