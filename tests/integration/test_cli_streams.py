"""The command keeps its word whatever its caller did to its standard streams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import MOONSAND, environment

pytestmark = pytest.mark.jail


def shell(line: str, arguments: list[str], *, unbuffered: bool) -> subprocess.CompletedProcess[str]:
    """Run the command in a shell, `$@` of the line."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *MOONSAND, *arguments],
        env=environment(PYTHONUNBUFFERED="1" if unbuffered else ""),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "arguments", "code"),
    [
        ('"$@" >&-', ["version"], 0),
        ('"$@" >&-', ["--help"], 0),
        ('"$@" >&-', ["run", "-e", "print(1) return 1"], 0),
        ('"$@" >&-', ["run", "--json", "-e", "return 1"], 0),
        ('"$@" 2>&-', ["run", "-e", "error('x')"], 1),
        ('"$@" 2>&-', ["no-such-command"], 2),
        ('"$@" <&-', ["run"], 2),
        ('"$@" <&- >&- 2>&-', ["run", "-e", "return 1"], 0),
    ],
)
def test_a_closed_stream_changes_no_exit_code(line: str, arguments: list[str], code: int) -> None:
    """What nobody wants to read is thrown away; what cannot be read is empty."""
    done = shell(line, arguments, unbuffered=False)

    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ["version"],
        ["--help"],
        ["run", "-e", "print(1)"],
        ["run", "--json", "-e", "return 1"],
        ["run", "-e", "while true do print(1) end"],
    ],
)
def test_a_full_disk_is_told_in_one_line(arguments: list[str], *, unbuffered: bool) -> None:
    """Output that is lost is no success, and no bug of ours either."""
    done = shell('"$@" >/dev/full', arguments, unbuffered=unbuffered)

    assert done.returncode == 3
    assert done.stderr == "moonsand: the output could not be written: No space left on device\n"


def test_nobody_has_to_hear_of_errors() -> None:
    """Where stderr takes nothing, the exit code still says what happened."""
    assert shell('"$@" 2>/dev/full', ["run", "-e", "error('x')"], unbuffered=True).returncode == 1
    assert shell('"$@" 2>/dev/full', ["no-such-command"], unbuffered=False).returncode == 2


@pytest.mark.parametrize("arguments", [["integrations", "list"], ["--help"], ["version"]])
def test_a_reader_that_has_left_is_no_traceback(arguments: list[str]) -> None:
    """`moonsand ... | true` ends without a word, however little was to be written."""
    done = shell('"$@" | true', arguments, unbuffered=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_jail_is_not_given_a_number_of_a_closed_stream(tmp_path: Path) -> None:
    """With all three closed, what is printed goes nowhere, and not into a socket or a file."""
    kept = tmp_path / "kept"
    script = "print(('x'):rep(1000)) error('wrong')"
    line = f'"$@" <&- >&- 2>&-; echo $? >{kept}'
    shell(line, ["run", "-e", script], unbuffered=True)

    assert kept.read_text() == "1\n"


_INTERRUPTED = """
import sys
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from moonsand.__main__ import main
main()
"""


def test_ctrl_c_while_modules_are_loaded_is_quiet() -> None:
    """The command is interrupted as early as people are impatient: 130, and no traceback."""
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED], capture_output=True, timeout=45, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
