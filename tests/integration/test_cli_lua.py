"""`moonsand integrations:lua` is what scripts written for KosmoKrator call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.stubs import Stubs, running_stubs
from tests.command import environment, moonsand

pytestmark = pytest.mark.jail

KEYS = (
    *("success", "output", "error", "result", "execution_time_ms", "memory_usage"),
    *("integration_calls", "meta"),
)


@pytest.fixture(scope="module")
def stubs() -> Iterator[Stubs]:
    """The loopback stand-ins of vendors."""
    with running_stubs() as running:
        yield running


@pytest.fixture
def env(stubs: Stubs, tmp_path: Path) -> dict[str, str]:
    """An environment whose accounts are those of the stand-ins."""
    path = tmp_path / "accounts.toml"
    path.write_text(stubs.accounts_toml)
    return environment(MOONSAND_ACCOUNTS=str(path), XDG_CONFIG_HOME=str(tmp_path))


def lua(*arguments: str, env: dict[str, str], expect: int = 0, stdin: str = "") -> dict[str, Any]:
    """Run with --json, see the exit code, and give the one document on stdout."""
    done = moonsand("integrations:lua", "--json", *arguments, env=env, stdin=stdin)
    assert done.returncode == expect, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert tuple(document) == KEYS
    return document


def test_a_piped_script_gives_the_documented_envelope(env: dict[str, str]) -> None:
    """Code from stdin, accounts from the environment, the eight keys of the document."""
    document = lua(env=env, stdin="dump(app.integrations.mux.list_assets({limit=1}))")
    assert (document["success"], document["error"], document["result"]) == (True, None, [])
    assert '"id": "default-intro"' in document["output"]
    assert document["execution_time_ms"] > 0
    assert document["memory_usage"] > 0
    (call,) = document["integration_calls"]
    assert call["function"] == "app.integrations.mux.list_assets"
    assert (call["account"], call["effect"]) == ("default", "succeeded")
    assert document["meta"]["permission_bypassed"] is False


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("return", []),
        ("return nil", [None]),
        ("return {1, 2}", [[1, 2]]),
        ("return 1, 2", [1, 2]),
        ('return "\\u{9b}", nil', ["\x9b", None]),
    ],
)
def test_the_result_is_the_list_of_return_values(
    env: dict[str, str], code: str, values: list[Any]
) -> None:
    """One list is told from two values, no value from nil."""
    assert lua("-e", code, env=env)["result"] == values


@pytest.mark.parametrize(
    "arguments",
    [
        ["--eval", 'print(docs.read("mux"))'],
        ["--eval", 'print(docs.read("mux.list_assets"))'],
        ["--eval", 'print(docs.read("integrations.mux"))'],
        ["--eval", "dump(app.integrations.mux.list_assets({limit = 1, page = 1}))"],
        ["--eval", "dump(app.integrations.heygen.list_videos({limit = 1, offset = 1}))"],
        ["--eval", "dump(app.integrations.convex.list_tables({}))"],
    ],
)
def test_the_commands_of_the_documents_work(env: dict[str, str], arguments: list[str]) -> None:
    """What the vendors' documents tell people to run succeeds and prints."""
    assert lua(*arguments, env=env)["output"]


def test_a_workflow_file_runs_with_and_without_force(env: dict[str, str], tmp_path: Path) -> None:
    """`workflow.lua --json` and `workflow.lua --force --json`; the second says so."""
    workflow = tmp_path / "workflow.lua"
    workflow.write_text("local mux = app.integrations.mux\ndump(mux.list_assets({limit = 1}))\n")
    assert lua(str(workflow), env=env)["meta"]["permission_bypassed"] is False
    assert lua(str(workflow), "--force", env=env)["meta"]["permission_bypassed"] is True


def test_a_failed_script_says_where_with_exit_code_1(env: dict[str, str]) -> None:
    """`success` is false, `error` is a text, `result` is null."""
    document = lua("-e", '\nerror("no")', env=env, expect=1)
    assert (document["success"], document["error"], document["result"]) == (False, "no", None)
    assert (document["meta"]["line"], document["meta"]["reason"]) == (2, "script_error")


def test_its_limits_are_in_bytes_and_seconds(env: dict[str, str]) -> None:
    """Memory and processor time are held to what the options say; no other limit is met."""
    grow = "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end"
    document = lua("-e", grow, "--memory-limit=4194304", env=env, expect=1)
    assert document["meta"]["reason"] == "memory_limit"
    burn = 'return ("a"):rep(40):find(("a-"):rep(40).."b")'
    assert lua("-e", burn, "--cpu-limit", "0.5", env=env, expect=1)["meta"]["reason"] == "cpu_limit"
    many = "for i = 1, 300 do docs.search('x') end return true"
    assert lua("-e", many, env=env)["result"] == [True]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no code"),
        (["-e", " "], "no code"),
        (["none.lua"], "cannot read none.lua"),
        (["-e", "return", "--memory-limit", "1"], "--memory-limit"),
        (["-e", "return", "--cpu-limit", "nan"], "--cpu-limit"),
        (["-e", "return", "--cpu-limit", "1000"], "--cpu-limit"),
    ],
)
def test_without_code_or_with_a_bad_limit_nothing_runs(
    env: dict[str, str], arguments: list[str], words: str
) -> None:
    """Exit code 2, nothing on stdout, one line on stderr."""
    done = moonsand("integrations:lua", "--json", *arguments, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_people_see_values_as_they_are(env: dict[str, str]) -> None:
    """Without --json one value is shown as itself, several as a list; both spellings work."""
    for command in (["integrations:lua"], ["integrations", "lua"]):
        assert moonsand(*command, "-e", "return {1}", env=env).stdout == "[\n  1\n]\n"
        assert moonsand(*command, "-e", "return 1, 2", env=env).stdout == "[\n  1,\n  2\n]\n"
        assert moonsand(*command, "-e", 'print("x") return', env=env).stdout == "x\n"


def test_a_secret_is_nowhere_in_the_envelope(env: dict[str, str]) -> None:
    """Neither a good nor a failing call shows credentials."""
    code = 'dump(app.integrations.mux) app.integrations.mux.get_asset({asset_id = "none"})'
    document = lua("-e", code, env=env, expect=1)
    assert "secret" not in json.dumps(document)
