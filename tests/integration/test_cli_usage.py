"""
`moonsand` refuses a wrong command line with one line on stderr and exit code 2.

Nothing is run and nothing is printed on stdout.
"""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests import warm
from tests.command import MOONSAND, environment


def refused(*arguments: str, stdin: bytes = b"") -> str:
    """Run `moonsand`, see it refuse with nothing on stdout, and give its one line."""
    done = warm.run("moonsand", *arguments, env=environment(), stdin=stdin)
    assert done.returncode == 2
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_an_unknown_option_is_named() -> None:
    """A misspelt option is refused, and the nearest known one is told."""
    line = refused("run", "-e", "return 1", "--instruction", "5")
    assert line.startswith("moonsand: No such option: --instruction")
    assert "--instructions" in line


def test_a_script_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """A script of 300 KiB is refused before anything runs, from a file as from stdin."""
    script = tmp_path / "large.lua"
    script.write_bytes(b"-" * 300 * 1024)
    said = "moonsand: the script has more than 262144 bytes, the limit of script_bytes"
    assert refused("run", str(script)) == said
    assert refused("run", stdin=script.read_bytes()) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "Expecting property name enclosed in double quotes at line 1 column 2"),
        ("", "Expecting value at line 1 column 1"),
        ("[1] 2", "Extra data at line 1 column 5"),
    ],
)
def test_invalid_json_input_is_refused(given: str, said: str) -> None:
    """Input that is no JSON is refused with the place of the fault."""
    assert refused("run", "-e", "return 1", "--input", given) == (
        f"moonsand: --input is not JSON: {said}"
    )


@pytest.mark.parametrize("given", ["NaN", "-Infinity", "[" * 5000])
def test_json_that_no_script_can_take_is_refused(given: str) -> None:
    """What Python's parser takes and JSON does not have is refused too."""
    line = refused("run", "-e", "return 1", "--input", given)
    assert line.startswith("moonsand: --input is not JSON that a script can take: ")


def test_an_input_file_must_be_readable(tmp_path: Path) -> None:
    """A missing input file is named."""
    missing = tmp_path / "none.json"
    assert refused("run", "-e", "return 1", "--input", f"@{missing}") == (
        f"moonsand: cannot read {missing}: No such file or directory"
    )


def test_an_unreadable_script_is_named(tmp_path: Path) -> None:
    """A missing script and a directory are refused by name."""
    assert refused("run", str(tmp_path)) == f"moonsand: cannot read {tmp_path}: Is a directory"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--memory-mb", "9999"),
        ("--memory-mb", "x"),
        ("--cpu-ms", "1"),
        ("--wall-s", "4000"),
        ("--wall-s", "nan"),
        ("--output-kb", "-1"),
        ("--calls", "10001"),
        ("--instructions", "0"),
        ("--seed", "-1"),
    ],
)
def test_a_limit_out_of_range_is_refused(option: str, value: str) -> None:
    """Each limit has its range, and the refusal names the option."""
    assert f"'{option}'" in refused("run", "-e", "return 1", option, value)


def test_no_code_is_refused(tmp_path: Path) -> None:
    """Neither file, code nor text on stdin: nothing to run."""
    empty = tmp_path / "empty.lua"
    empty.write_text(" \n")
    said = "moonsand: no code: the script is empty"
    assert [refused("run"), refused("run", str(empty)), refused("run", "-e", "")] == [said] * 3


def test_a_terminal_is_no_script() -> None:
    """At a terminal without code it says what to give instead of waiting for ever."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*MOONSAND, "run"], stdin=theirs, capture_output=True, timeout=30, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert done.stderr.decode() == (
        "moonsand: no code: name a file, give -e CODE, or pipe a script in\n"
    )


def test_a_file_and_code_are_too_much(tmp_path: Path) -> None:
    """Which of the two is meant is not guessed."""
    assert refused("run", str(tmp_path / "x.lua"), "-e", "return 1") == (
        "moonsand: give a file or -e CODE, not both"
    )


def test_a_script_must_be_text() -> None:
    """Bytes that are no UTF-8 are refused with their place."""
    assert (
        refused("run", stdin=b"return '\xff'") == "moonsand: the script is not UTF-8 text: byte 9"
    )


def test_a_bad_grant_is_refused() -> None:
    """A grant of an unknown shape is refused before anything runs."""
    done = subprocess.run(
        [*MOONSAND, "run", "-e", "return 1", "--grant", "mux:delete"],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"mux:delete" in done.stderr.splitlines()[0]


def test_a_misspelt_setting_stops_the_service() -> None:
    """An unknown MOONSAND_ variable is refused by name, with the nearest known one."""
    done = subprocess.run(
        [*MOONSAND, "api"],
        env={**os.environ, "MOONSAND_PROT": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    first = done.stderr.splitlines()[0]
    assert first == "moonsand: unknown setting MOONSAND_PROT; did you mean MOONSAND_PORT?"
