"""`moonsand grants`, `keys create --scope`, `run --grants` and `--force`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integrations.stubs import Stubs
from tests.command import environment, moonsand

pytestmark = pytest.mark.timeout(120)
CREATE = 'return app.integrations.mux.create_asset("https://example.com/v.mp4").data.status'


def test_grants_are_set_shown_tried_and_removed(redis_url: str) -> None:
    """What was set is listed and decides; what was removed limits nothing."""
    env = environment(REDIS_URL=redis_url)

    def grants(*words: str) -> tuple[int, str]:
        done = moonsand("grants", *words, "--tenant", "acme", env=env)
        return done.returncode, done.stdout + done.stderr

    assert grants("list")[1] == (
        "tenant acme has no grants of its own: every function is allowed\n"
    )
    limited = '{"pattern":"heygen:write","calls_per_run":2}'
    rules = ["*:read", "ask:mux:write", "deny:mux.create_live_stream", limited]
    assert grants("set", *rules) == (0, "tenant acme has 4 grants\n")
    shown = json.loads(grants("list", "--json")[1])
    assert shown == {"acme": [*rules[:3], {"effect": "allow", **json.loads(limited)}]}
    assert grants("check", "mux.list_assets") == (0, "allow\n")
    code, told = grants("check", "mux.create_asset")
    assert (code, told.splitlines()[0]) == (1, "ask")
    assert grants("check", "mux.create_asset", "--force")[0] == 0
    assert grants("check", "mux.create_live_stream", "--force")[1] == (
        "deny\nmux.create_live_stream is denied to this tenant by the grant"
        " deny:mux.create_live_stream; no external call was made\n"
    )
    assert grants("check", "mux.list_assets", "--grant", "heygen")[1].startswith(
        "deny\nmux.list_assets is not granted to this run; it needs the grant mux:read or"
    )
    assert grants("set", "--nothing")[0] == 0
    assert grants("check", "mux.list_assets")[0] == 1
    assert grants("remove")[0] == 0
    assert grants("check", "mux.list_assets")[0] == 0
    assert grants("remove") == (2, "moonsand: tenant acme has no grants of its own\n")


def test_a_key_has_its_scopes_and_its_grants(redis_url: str) -> None:
    """Scopes and grants go to the key that was named, and go with it."""
    env = environment(REDIS_URL=redis_url)
    made = moonsand("keys", "create", "--scope", "runs:read", "--scope", "runs:force", env=env)
    assert made.stdout.startswith("ms_live_")
    listed = moonsand("keys", "list", env=env).stdout
    assert listed.endswith("  runs:read,runs:force  never used\n")
    key_id = listed.split()[0]
    assert moonsand("grants", "set", "mux", "--key", key_id, env=env).returncode == 0
    assert json.loads(moonsand("grants", "list", "--json", env=env).stdout) == {key_id: ["mux"]}
    assert moonsand("grants", "check", "heygen.list_videos", "--key", key_id, env=env).returncode
    assert moonsand("grants", "check", "heygen.list_videos", env=env).returncode == 0
    assert moonsand("keys", "revoke", key_id, env=env).returncode == 0
    assert json.loads(moonsand("grants", "list", "--json", env=env).stdout) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set"], "name some grants, or give --nothing"),
        (["set", "mux", "--nothing"], "name some grants, or give --nothing"),
        (["set", "mux", "Mux"], "RULE /1: grant 'Mux' is not a grant"),
        (["set", '{"pattern":"mux","effect":"no"}'], "RULE /0/effect: it must be allow, ask or"),
        (["set", '{"pattern"'], "grant is not JSON"),
        (["set", "muxx"], "no integration muxx. Did you mean: mux?"),
        (["set", "mux", "--key", "key_x"], "tenant development has no key 'key_x'"),
        (["set", "--file", "/nowhere"], "cannot read /nowhere"),
        (["check", "mux.nothing"], "Unknown function: mux.nothing"),
        (["check", "mux"], "give a name such as mux.list_assets"),
        (["check", "mux.list_assets", "--arguments", "{"], "--arguments is not JSON"),
    ],
)
def test_mistakes_are_one_line(redis_url: str, words: list[str], said: str) -> None:
    """Exit code 2, what is wrong, and nothing is kept."""
    done = moonsand("grants", *words, env=environment(REDIS_URL=redis_url))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") <= 2


@pytest.mark.jail
def test_a_local_run_takes_grants_with_limits(stubs: Stubs, tmp_path: Path) -> None:
    """`--grants FILE`, `--grant` and `--force`, without a service."""
    (tmp_path / "accounts.toml").write_text(stubs.accounts_toml)
    rules = [{"pattern": "mux:write", "effect": "ask", "accounts": ["default"]}]
    (tmp_path / "grants.json").write_text(json.dumps(rules))
    (tmp_path / "wrong.json").write_text('["mux", "deny:mux.create_assets"]')
    with_accounts = ["--json", "--accounts", str(tmp_path / "accounts.toml")]

    def run(*words: str) -> tuple[int, str]:
        env = environment(tmp_path, XDG_CONFIG_HOME=str(tmp_path))
        done = moonsand("run", "-e", CREATE, *with_accounts, *words, env=env)
        return done.returncode, done.stdout + done.stderr

    file = ["--grants", str(tmp_path / "grants.json")]
    code, told = run(*file)
    assert code == 1
    assert "mux.create_asset needs an approval, by the grant ask:mux:write" in told
    code, told = run(*file, "--force")
    assert (code, json.loads(told)["result"]) == (0, "preparing")
    code, told = run(*file, "--force", "--grant", "deny:mux.mux_create_asset")
    assert code == 1
    code, told = run("--grants", str(tmp_path / "wrong.json"))
    assert code == 2
    assert "no function mux.create_assets. Did you mean: create_asset?" in told
