"""`moonsand mcp` and `--mcp`, as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import environment, moonsand
from tests.mcp_serving import stdio_section, write_servers

pytestmark = [pytest.mark.jail, pytest.mark.timeout(240)]
READ = 'return app.mcp.notes.read_note{name = "first"}'


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which the server `notes` is configured."""
    path = write_servers(tmp_path, stdio_section())
    return environment(tmp_path, MOONSAND_MCP_SERVERS=str(path))


def test_a_server_is_seen_trusted_called_and_distrusted(env: dict[str, str]) -> None:
    """Nothing is callable before `trust` nor after `distrust`; the digest guards what was read."""

    def mcp(*arguments: str) -> tuple[int, str]:
        done = moonsand("mcp", *arguments, env=env)
        return done.returncode, done.stdout + done.stderr

    assert mcp("list")[1].endswith(": not trusted\n")
    code, refused = mcp("call", "notes.read_note", '{"name": "first"}')
    assert code == 1
    assert "is not trusted" in refused
    seen = json.loads(mcp("tools", "notes", "--json")[1])
    assert [one["name"] for one in seen["tools"]][:2] == ["as_json", "change_tools"]
    code, other = mcp("trust", "notes", "--digest", "0" * 64)
    assert code == 2
    assert "nothing is trusted" in other
    code, trusted = mcp("trust", "notes", "--digest", seen["digest"])
    assert code == 0
    assert "write-note (write): Write a note." in trusted
    assert json.loads(mcp("list", "--json")[1])[0]["digest"] == seen["digest"]
    assert "nothing has changed" in mcp("tools", "notes")[1]
    assert mcp("call", "notes.read_note", '{"name": "first"}') == (0, '"hello"\n')
    assert moonsand("run", "-e", READ, env=env).stdout == '"hello"\n'
    envelope = json.loads(moonsand("integrations:lua", "-e", READ, "--json", env=env).stdout)
    assert envelope["result"] == ["hello"]
    assert [one["function"] for one in envelope["integration_calls"]] == ["app.mcp.notes.read_note"]
    assert mcp("distrust", "notes") == (0, "not trusted any more: notes\n")
    assert mcp("distrust", "notes")[0] == 1
    assert mcp("call", "notes.read_note", '{"name": "first"}')[0] == 1


def test_mcp_lua_has_servers_and_no_integrations(env: dict[str, str], tmp_path: Path) -> None:
    """KosmoKrator's line works as documented; accounts that are there cannot be reached."""
    given = env | {"MOONSAND_ACCOUNTS": str(tmp_path / "none.toml")}

    def lua(*arguments: str, stdin: str = "") -> tuple[int, dict[str, Any]]:
        done = moonsand("mcp:lua", "--json", *arguments, env=given, stdin=stdin)
        return done.returncode, json.loads(done.stdout)

    code, document = lua("--eval", "dump(mcp.servers())")
    assert (code, document["success"], document["integration_calls"]) == (0, True, [])
    assert '"name": "notes"' in document["output"]
    assert moonsand("mcp", "trust", "notes", env=env).returncode == 0
    code, document = lua(stdin=READ)
    assert (code, document["result"]) == (0, ["hello"])
    code, document = lua("--force", "-e", "return app.integrations.mux")
    assert (code, document["success"]) == (1, False)
    assert "app.integrations.mux" in document["error"]


def test_mcp_lua_without_a_file_of_servers_names_none(tmp_path: Path) -> None:
    """No servers are no error; no code is one of use."""
    env = environment(tmp_path)
    done = moonsand("mcp:lua", "--eval", "dump(mcp.servers())", "--json", env=env)
    assert (done.returncode, json.loads(done.stdout)["success"]) == (0, True)
    assert moonsand("mcp:lua", "--json", env=env).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["tools", "note"], 2, "there is no MCP server note. Did you mean: notes?"),
        (["trust", "notes", "--tenant", "acme"], 2, "there is no MCP server notes"),
        (["call", "notes.x", "{"], 2, "the arguments are not JSON"),
        (["list", "--mcp", "/none.toml"], 2, "MCP servers file none.toml: No such file"),
    ],
)
def test_wrong_input_is_told_in_a_line(
    env: dict[str, str], arguments: list[str], code: int, words: str
) -> None:
    """No traceback, and the exit codes of every command."""
    done = moonsand("mcp", *arguments, env=env)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_file_it_says_how_to_name_one(tmp_path: Path) -> None:
    """Both ways are named."""
    done = moonsand("mcp", "list", env=environment(tmp_path))
    assert done.returncode == 2
    assert "--mcp FILE or set MOONSAND_MCP_SERVERS" in done.stderr


def test_a_program_that_is_no_server_is_told(tmp_path: Path) -> None:
    """The host's trouble, not the script's: 3."""
    path = write_servers(tmp_path, '[odd]\ncommand = "/bin/true"\n')
    done = moonsand("mcp", "trust", "odd", "--mcp", str(path), env=environment(tmp_path))
    assert done.returncode == 3
    assert "the tools of the MCP server odd cannot be had" in done.stderr
