"""What README.md tells people to type does what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import environment, moonsand

pytestmark = pytest.mark.jail
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RUNS = re.findall(r"^\.venv/bin/moonsand (run -e .*)$", README, re.MULTILINE)
LINKS = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
TARGETS = re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)


@pytest.mark.parametrize("line", RUNS)
def test_each_run_ends_as_told(line: str) -> None:
    """The endless loop is the one that fails, with exit code 1; the others succeed."""
    done = moonsand(*shlex.split(line))
    assert done.returncode == (1 if "while true" in line else 0)


def test_there_are_runs_to_try() -> None:
    """The tour has its three first commands."""
    assert len(RUNS) == 3


@pytest.mark.parametrize("link", LINKS)
def test_each_link_leads_somewhere(link: str) -> None:
    """No link of the README points at nothing."""
    assert (ROOT / link).exists()


@pytest.mark.parametrize("target", sorted({*TARGETS, "help"}))
def test_each_target_exists_and_is_explained(target: str) -> None:
    """What `make` is told to do in the README is a target that `make help` explains."""
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE)


def test_the_python_example_is_valid() -> None:
    """The example uses names that the package has."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    check = f"import ast, moonsand; ast.parse({code!r}); moonsand.Client"
    command = [sys.executable, "-c", check]
    subprocess.run(command, env=environment(), check=True, timeout=30)
