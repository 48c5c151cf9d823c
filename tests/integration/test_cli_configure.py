"""`moonsand integrations configure`, `doctor` and `call` for a person without a service."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from integrations.accounts import AccountsFile
from integrations.stubs import Stubs
from tests.command import environment, moonsand
from tests.shipped import CATALOG

ID, SECRET = "a-token-id", "canary-secret-value"
VIDEO = "https://storage.example.com/v.mp4"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment of a person who has configured nothing, with a secret in a variable."""
    return environment(XDG_CONFIG_HOME=str(tmp_path), MUX_SECRET=SECRET)


@pytest.fixture
def local(stubs: Stubs, env: dict[str, str]) -> dict[str, str]:
    """The environment of a person whose accounts are those of the stand-ins."""
    file = Path(env["XDG_CONFIG_HOME"]) / "moonsand" / "accounts.toml"
    file.parent.mkdir()
    file.write_text(stubs.accounts_toml)
    return env


def files(env: dict[str, str]) -> tuple[Path, Path]:
    """Give the accounts file and the policy file."""
    directory = Path(env["XDG_CONFIG_HOME"]) / "moonsand"
    return directory / "accounts.toml", directory / "policy.toml"


def run(*arguments: str, env: dict[str, str], expect: int = 0, stdin: str = "") -> str:
    """Run a colon command; see its exit code; the secret is nowhere. Give what it wrote."""
    done = moonsand(f"integrations:{arguments[0]}", *arguments[1:], env=env, stdin=stdin)
    said = done.stdout + done.stderr
    assert done.returncode == expect, said
    assert SECRET not in said
    return said


def test_an_account_is_kept_for_its_owner_alone(env: dict[str, str]) -> None:
    """The documented options make one file of mode 0600 that the reader of accounts takes."""
    said = run(
        *("configure", "mux", "--set", f"token_id={ID}", "--env", "token_secret=MUX_SECRET"),
        *("--enable", "--read", "allow", "--write", "ask", "--json"),
        env=env,
    )
    assert json.loads(said) == {
        "success": True,
        "provider": "mux",
        "account": "default",
        "credentials_set": ["token_id", "token_secret"],
        "credentials_unset": [],
        "enabled": True,
        "permissions": {"read": "allow", "write": "ask"},
        "dry_run": False,
    }
    for path in files(env):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    account = AccountsFile.load(files(env)[0], CATALOG).for_tenant(None).get("mux", "default")
    assert (account.reveal("token_id"), account.reveal("token_secret")) == (ID, SECRET)
    assert tomllib.loads(files(env)[1].read_text()) == {
        "mux": {"enabled": True, "read": "allow", "write": "ask"}
    }


def test_a_secret_on_the_command_line_works_and_is_warned_of(env: dict[str, str]) -> None:
    """KosmoKrator's spelling is taken; the note names the field, not the value."""
    said = run("configure", "heygen", "--set", f"api_key={SECRET}", env=env)
    assert "note: --set shows api_key to everybody" in said
    assert SECRET in files(env)[0].read_text()


def test_everything_comes_from_stdin(env: dict[str, str]) -> None:
    """`--stdin-json` takes account, credentials, enabled and permissions."""
    given = {
        "account": "work",
        "credentials": {"token_id": ID, "token_secret": SECRET},
        "enabled": False,
        "permissions": {"read": "allow", "write": "deny"},
    }
    said = run("configure", "mux", "--stdin-json", "--json", env=env, stdin=json.dumps(given))
    assert json.loads(said)["account"] == "work"
    assert json.loads(said)["enabled"] is False
    assert tomllib.loads(files(env)[0].read_text())["mux"]["work"]["token_secret"] == SECRET


def test_comments_and_other_accounts_stay(env: dict[str, str]) -> None:
    """Only the section that was meant is changed; a field that is not given stays."""
    file = files(env)[0]
    file.parent.mkdir()
    before = (
        '# mine\n[heygen.default]  # theirs\napi_key = "k"\n\n[mux.default]\ntoken_id = "old"\n'
        'token_secret = { env = "MUX_SECRET" }\n\n# of acme\n[tenants.acme.mux.default]\n'
        'token_id = "x"\ntoken_secret = "y"\n'
    )
    file.write_text(before)
    run("configure", "mux", "--set", 'token_id=new "one" \\', env=env)
    assert file.read_text() == before.replace('"old"', json.dumps('new "one" \\'))
    run("configure", "mux", "--account", "work", "--stdin-json", env=env, stdin=json.dumps(
        {"set": {"token_id": "w", "token_secret": SECRET}}))  # fmt: skip
    document = tomllib.loads(file.read_text())
    assert set(document["mux"]) == {"default", "work"}
    assert document["tenants"] == tomllib.loads(before)["tenants"]
    run("configure", "mux", "--unset", "token_id", "--unset", "token_secret", env=env)
    assert set(tomllib.loads(file.read_text())["mux"]) == {"work"}
    assert "# mine\n[heygen.default]  # theirs\n" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mux"], "there is nothing to change"),
        (["muxx", "--enable"], "there is no integration muxx. Did you mean: mux?"),
        (["mux", "--set", "token_id=x"], "token_secret: is missing"),
        (["mux", "--set", "token_idd=x"], "unknown field. Did you mean: token_id"),
        (["mux", "--set", SECRET], "--set takes FIELD=VALUE"),
        (["mux", "--env", "token_secret=NOT_THERE"], "names a variable that is not set"),
        (["mux", "--unset", "token_id"], "mux.default has no token_id"),
        (["mux", "--account", "End", "--set", "token_id=x"], "an account name is lower-case"),
        (["mux", "--account", "list_assets", "--set", "token_id=x"], "like a function"),
        (["mux", "--read", "maybe"], "allow, ask or deny"),
        (["mux", "--permissions", "delete:allow"], "allow, ask or deny"),
        (["convex", "--set", "deploy_key=k", "--set", "deployment_url=http://x.example"], "https"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    env: dict[str, str], arguments: list[str], words: str
) -> None:
    """Exit code 2, the place and the reason; there is no file afterwards."""
    assert words in run("configure", *arguments, env=env, expect=2)
    assert [path.exists() for path in files(env)] == [False, False]


def test_a_dry_run_checks_and_writes_nothing(env: dict[str, str]) -> None:
    """The same words, and no file."""
    good = ["--set", f"token_id={ID}", "--env", "token_secret=MUX_SECRET", "--write", "deny"]
    said = run("configure", "mux", *good, "--dry-run", env=env)
    assert said == "mux.default would be configured: enabled, read allow, write deny\n"
    assert "is missing" in run("configure", "mux", *good[:2], "--dry-run", env=env, expect=2)
    assert [path.exists() for path in files(env)] == [False, False]


@pytest.mark.parametrize(
    "text",
    [
        "mux = { default = { token_id = 'a', token_secret = 'b' } }\n",
        '[mux]\ndefault.token_id = "a"\ndefault.token_secret = "b"\n',
        'note = """\n[mux.default]\n"""\n[mux."default"]\ntoken_id="a"\ntoken_secret="b"\n',
        "not toml",
    ],
)
def test_a_file_in_another_style_is_not_damaged(env: dict[str, str], text: str) -> None:
    """What can't be changed safely is refused; not a byte is written."""
    file = files(env)[0]
    file.parent.mkdir()
    file.write_text(text)
    run("configure", "mux", "--set", "token_id=x", env=env, expect=2)
    assert file.read_text() == text


def lua(code: str, *options: str, env: dict[str, str]) -> dict[str, Any]:
    """Run Lua under the policy; give the envelope."""
    done = moonsand("integrations:lua", "-e", code, "--json", *options, env=env)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.jail
def test_the_policy_holds_for_scripts_and_force_skips_reading_and_writing_only(
    stubs: Stubs, local: dict[str, str]
) -> None:
    """`ask` and `deny` refuse before anything is sent; force skips both, but nothing else."""
    create = f'return app.integrations.mux.create_asset({{input = "{VIDEO}"}}).data.id'
    for write in ("ask", "deny"):
        run("configure", "mux", "--write", write, env=local)
        refused = lua(create, env=local)
        assert refused["success"] is False
        assert not stubs.mux_faults.seen
    assert lua("return #app.integrations.mux.list_assets({}).data > 0", env=local)["result"] == [
        True
    ]
    forced = lua(create, "--force", env=local)
    assert (forced["success"], forced["meta"]["permission_bypassed"]) == (True, True)
    run("configure", "mux", "--disable", env=local)
    seen = len(stubs.mux_faults.seen)
    assert lua(create, "--force", env=local)["success"] is False
    assert len(stubs.mux_faults.seen) == seen


@pytest.mark.jail
def test_a_run_can_ask_for_less_than_the_policy_but_not_for_more(local: dict[str, str]) -> None:
    """`moonsand run --grant` is held to the policy too."""
    run("configure", "mux", "--write", "deny", env=local)
    code = f'return app.integrations.mux.create_asset({{input = "{VIDEO}"}})'
    done = moonsand("run", "-e", code, "--grant", "mux", "--json", env=local)
    assert done.returncode == 1
    assert json.loads(done.stdout)["reason"] in {"denied", "script_error"}


@pytest.mark.parametrize("text", ["[mux]\nwrite = 'maybe'\n", "[mux]\nwrit = 'ask'\n", "=", "a=1"])
def test_a_policy_that_cannot_be_read_stops_everything(local: dict[str, str], text: str) -> None:
    """Nothing runs under half a policy."""
    files(local)[1].write_text(text)
    assert "policy file policy.toml" in run("call", "mux.list_assets", env=local, expect=2)


def test_flags_json_and_pairs_are_arguments(stubs: Stubs, local: dict[str, str]) -> None:
    """Every documented form makes the same call; flags replace what the JSON says."""
    forms: list[tuple[list[str], str]] = [
        (["--limit", "1"], ""),
        (["--limit=1"], ""),
        (['{"limit": 1}'], ""),
        (['{"limit": 50}', "--limit", "1"], ""),
        (["--arg", "limit=1"], ""),
        ([], '{"limit": 1}'),
        (["-"], '{"limit": 1}'),
        (["--limit", "1", "--account", "production"], ""),
    ]
    for form, stdin in forms:
        said = run("call", "mux.list_assets", *form, "--json", env=local, stdin=stdin)
        told = json.loads(said)
        assert (told["function"], told["success"], told["error"]) == ("mux.list_assets", True, None)
        assert len(told["data"]["data"]) == 1
        assert told["duration_ms"] > 0
    asked = run("call", "mux.get_asset", "--asset-id", "12345", "--dry-run", env=local)
    assert json.loads(asked)["arguments"] == {"asset_id": "12345"}


def test_a_dry_run_of_a_call_is_held_to_the_policy(stubs: Stubs, local: dict[str, str]) -> None:
    """It refuses what the call would refuse, shows the request with --force, and sends nothing."""
    run("configure", "mux", "--write", "ask", env=local)
    words = ["call", "mux.create_asset", "--input", VIDEO, "--dry-run", "--json"]
    refused = json.loads(run(*words, env=local, expect=1))
    assert refused["success"] is False
    assert "no external call was made" in refused["error"]
    shown = json.loads(run(*words, "--force", env=local))["data"]["request"]
    assert shown["headers"]["Authorization"] == "[redacted]"
    assert not stubs.mux_faults.seen


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (["--limit"], "", "--limit needs a value"),
        (["{}", "more"], "", "'more' belongs to nothing"),
        ([], "one\ntwo\n", "what is piped in: not JSON"),
        (["[1]"], "", "must be a JSON object"),
    ],
)
def test_malformed_arguments_are_usage_errors(
    local: dict[str, str], arguments: list[str], stdin: str, words: str
) -> None:
    """Exit code 2, and what was expected."""
    said = run("call", "mux.list_assets", *arguments, env=local, stdin=stdin, expect=2)
    assert words in said


def test_doctor_tries_every_account(stubs: Stubs, local: dict[str, str]) -> None:
    """A good account is called once; a wrong one is told from it; --dry-run calls nobody."""
    whole = json.loads(run("doctor", "mux", "--json", env=local))
    assert (whole["provider"], whole["active"], whole["ok"]) == ("mux", True, True)
    assert whole["accounts"][0] == "default"
    assert {one["name"] for one in whole["checks"]} == {"credentials", "host", "auth"}
    file = files(local)[0]
    file.write_text(file.read_text().replace("stub-mux-default-secret", "wrong"))
    broken = json.loads(run("doctor", "mux", "--json", env=local, expect=1))
    failed = [one for one in broken["checks"] if not one["ok"]]
    assert [(one["account"], one["name"]) for one in failed] == [("default", "auth")]
    stubs.reset()
    dry = json.loads(run("doctor", "--dry-run", "--json", env=local))
    assert set(dry) >= {"mux", "agora", "heygen", "convex", "mixpeek"}
    assert not stubs.mux_faults.seen


def test_doctor_says_what_to_do_next(env: dict[str, str]) -> None:
    """Without an account: what is missing, and the command that makes it."""
    seen = json.loads(run("doctor", "mux", "--json", env=env, expect=1))
    assert (seen["configured"], seen["active"]) == (False, False)
    assert seen["missing_credentials"] == ["token_id", "token_secret"]
    assert seen["next_commands"] == [
        "moonsand integrations:configure mux --env token_id=VARIABLE --env token_secret=VARIABLE"
    ]
    assert run("doctor", env=env).count(": not configured, ") == 5
    assert "there is no integration" in run("doctor", "muks", env=env, expect=2)


def test_a_policy_that_forbids_reading_is_kept_by_doctor(
    stubs: Stubs, local: dict[str, str]
) -> None:
    """No account is tried against the policy."""
    run("configure", "mux", "--read", "ask", env=local)
    run("doctor", "mux", env=local)
    assert not stubs.mux_faults.seen
