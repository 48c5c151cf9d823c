"""`moonsand connections` and `moonsand syncs`, against a real API."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.redis_server import PrivateRedis
from tenancy.scopes import Role
from tests.api_server import ApiServer
from tests.command import environment, moonsand
from tests.mux_mixpeek import BUCKET, SECRET, TRIGGER_KEYS

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """An API that keeps webhook secrets."""
    with ApiServer(redis_server.url, trigger_keys=TRIGGER_KEYS, log_level="warning") as server:
        yield server


@pytest.fixture
def command(api: ApiServer, redis_url: str, tmp_path: Path) -> Command:
    """Run a command as somebody who may do all within a tenant."""
    assert redis_url
    key = api.new_key("acme", Role.ADMIN.scopes)
    env = environment(tmp_path, MOONSAND_URL=api.url, MOONSAND_API_KEY=key, HOOK=SECRET)

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return moonsand(*arguments, env=env, stdin=stdin)

    return run


def connected(command: Command) -> str:
    """Make a connection, and give its id."""
    made = command(
        *("connections", "create", "Mux", "--account", "default"),
        *("--webhook-secret", "HOOK", "--no-test"),
    )
    assert made.returncode == 0, made.stderr
    one, name, status, webhook, path = made.stdout.rstrip("\n").split("\t")
    assert (name, status, webhook) == ("Mux", "ACTIVE", "webhook")
    assert path == f"/v1/webhooks/mux/{one}"
    return one


def test_a_connection_from_its_making_to_its_end(command: Command) -> None:
    """Made, listed, shown, changed, deleted; its secret is an environment variable, never shown."""
    one = connected(command)
    listed = command("connections", "list", "--json")
    assert json.loads(listed.stdout)["connection_id"] == one
    assert json.loads(command("connections", "show", "Mux").stdout)["has_webhook_secret"] is True
    changed = command("connections", "change", one, "--account", "default", "--name", "M 2")
    assert "no webhook secret" in changed.stdout
    assert command("connections", "change", one).returncode == 2
    assert command("connections", "delete", "M 2").stdout == "M 2 deleted\n"
    gone = command("connections", "show", one)
    assert (gone.returncode, gone.stdout) == (2, "")
    assert SECRET not in f"{listed.stdout}{changed.stdout}{gone.stderr}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "x"], "give --account, or --token-id and --token-secret"),
        (["create", "x", "--token-id", "A"], "give --account, or --token-id and --token-secret"),
        (
            ["create", "x", "--account", "a", "--webhook-secret", "canary-not-set"],
            "an option names an environment variable that is not set",
        ),
    ],
)
def test_credentials_come_from_somewhere(
    command: Command, arguments: list[str], words: str
) -> None:
    """What is missing is said, and what may be a secret is not repeated."""
    failed = command("connections", *arguments)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == f"moonsand: {words}\n"


def test_a_sync_from_its_making_to_its_end(command: Command, tmp_path: Path) -> None:
    """Made with filters from a file or stdin, paused, resumed, begun, changed, deleted."""
    connected(command)
    rule = {"field": "duration", "operator": "gt", "value": 10}
    filters = tmp_path / "filters.json"
    filters.write_text(json.dumps({"metadata_filters": [rule]}))
    made = command("syncs", "create", BUCKET, "Mux", "--filters", str(filters), "--json")
    shown = json.loads(made.stdout)
    assert shown["file_filters"] == {"metadata_filters": [rule]}
    one = shown["sync_config_id"]
    assert "SUSPENDED" in command("syncs", "pause", BUCKET, one).stdout
    assert "PENDING" in command("syncs", "resume", BUCKET, one).stdout
    assert command("syncs", "trigger", BUCKET, one).stdout.startswith("run_")
    changed = command(
        *("syncs", "change", BUCKET, one, "--interval", "60", "--reconcile"),
        *("--filters", "-", "--json"),
        stdin="{}",
    )
    after = json.loads(changed.stdout)
    assert (after["polling_interval_seconds"], after["reconcile_on_sync"]) == (60, True)
    assert after["file_filters"] == {}
    assert command("syncs", "list", BUCKET).stdout.startswith(f"{one}\tACTIVE\tcontinuous\tmux://")
    assert command("syncs", "delete", BUCKET, one).stdout == f"{one} deleted\n"
    assert command("syncs", "show", BUCKET, one).returncode == 2


def test_filters_that_cannot_be_read_are_told(command: Command, tmp_path: Path) -> None:
    """No file, no JSON, and a rule that could not be evaluated."""
    connected(command)
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    for path, words in ((tmp_path / "none.json", "cannot read"), (bad, "is not JSON")):
        failed = command("syncs", "create", BUCKET, "Mux", "--filters", str(path))
        assert failed.returncode == 2
        assert words in failed.stderr
    rule = '{"metadata_filters": [{"field": "a", "operator": "like", "value": 1}]}'
    refused = command("syncs", "create", BUCKET, "Mux", "--filters", "-", stdin=rule)
    assert refused.returncode == 2
    assert "/file_filters/metadata_filters/0/operator" in refused.stderr
