"""docs/cli.md names every command and every option of `moonsand`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from moonsand.cli import app

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
SECTIONS = dict(
    re.findall(r"^## (moonsand [a-z -]+)\n(.*?)(?=^## |\Z)", DOCS, re.MULTILINE | re.DOTALL)
)


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Walk the tree of commands."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    if command.invoke_without_command:
        yield path, command
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


COMMANDS = dict(commands(get_command(app), "moonsand"))


def test_no_section_is_about_a_command_that_does_not_exist() -> None:
    """The sections of the page are the commands."""
    assert sorted(COMMANDS) == sorted(SECTIONS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    """Each option and argument stands in its command's section."""
    for parameter in COMMANDS[name].params:
        names = [word for word in parameter.opts if word.startswith("-")]
        for word in names or [parameter.metavar or parameter.name.upper()]:
            if word != "--help":
                assert f"`{word}`" in SECTIONS[name], f"{name}: {word} is not documented"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_documented_option_exists(name: str) -> None:
    """No section promises an option that the command does not have."""
    known = {word for parameter in COMMANDS[name].params for word in parameter.opts}
    rows = re.findall(r"^\| (`--?[a-z].*?) \|", SECTIONS[name], re.MULTILINE)
    promised = {word for row in rows for word in re.findall(r"`(--?[a-z-]+)`", row)}
    assert promised <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does(name: str) -> None:
    """Each command and each option has a help text."""
    assert COMMANDS[name].help
    assert all(parameter.help for parameter in COMMANDS[name].params)
