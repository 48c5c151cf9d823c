"""`moonsand check`: exit codes, the document of --json, and what people read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import moonsand

WRONG = """local mux = app.integrations.mux
mux.list_asset()
mux.list_assets({ limit = 500 })
"""


def test_a_script_without_findings() -> None:
    """Nothing found is exit code 0, and what the script needs is shown."""
    done = moonsand("check", "examples/mux/create_asset.lua")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "create_asset.lua: nothing found\n"
        "needs: mux.create_asset; accounts: mux.default; it writes\n"
    )


def test_findings_are_lines_that_editors_can_jump_to(tmp_path: Path) -> None:
    """Each finding begins with file, line and column; exit code 1."""
    script = tmp_path / "wrong.lua"
    script.write_text(WRONG)
    done = moonsand("check", str(script))
    assert done.returncode == 1
    assert done.stdout.splitlines()[::2] == [
        (
            "wrong.lua:2:1: unknown_function: Unknown function: app.integrations.mux.list_asset."
            " Did you mean: list_assets?"
        ),
        "wrong.lua:3:19: out_of_range: mux.list_assets: limit must be at most 100, not 500",
    ]
    assert done.stderr == "wrong.lua: 2 findings\n"


@pytest.mark.parametrize("way", ["stdin", "-", "-e"])
def test_json_is_one_document(way: str) -> None:
    """From any source, --json prints the report and nothing else, findings or not."""
    arguments = {"stdin": [], "-": ["-"], "-e": ["-e", WRONG]}[way]
    done = moonsand("check", "--json", *arguments, stdin="" if way == "-e" else WRONG)
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert list(report) == ["ok", "findings", "needs"]
    assert report["ok"] is False
    assert [(one["line"], one["code"]) for one in report["findings"]] == [
        (2, "unknown_function"),
        (3, "out_of_range"),
    ]
    assert list(report["findings"][0]) == ["line", "column", "code", "message", "hint"]
    assert report["needs"] == {
        "functions": ["mux.list_assets"],
        "accounts": ["mux.default"],
        "writes": False,
        "dynamic": False,
    }
    assert json.loads(moonsand("check", "--json", "-e", "return 1").stdout)["ok"] is True


def test_syntax_errors_are_findings() -> None:
    """A script that is not Lua is a finding, not a fault of the command line."""
    done = moonsand("check", "-e", "if x then")
    assert done.returncode == 1
    assert done.stdout == (
        "eval:1:10: syntax_error: 'end' expected (to close 'if' at line 1) near <eof>\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.lua"], "moonsand: cannot read missing.lua: No such file or directory\n"),
        (["-e", "return 1", "x.lua"], "moonsand: give a file or -e CODE, not both\n"),
        (["-e", " "], "moonsand: no code: the script is empty\n"),
        (
            ["--packs", "none", "-e", "x()"],
            "moonsand: packs directory none: No such file or directory\n",
        ),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], said: str) -> None:
    """What cannot be checked is told in one line, with nothing on stdout."""
    done = moonsand("check", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_control_characters_of_a_script_do_not_reach_the_terminal() -> None:
    """A script's words are shown, its escape sequences are not obeyed."""
    done = moonsand("check", "-e", 'x = "\x1b[31m\u202e')
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
