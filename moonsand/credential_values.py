"""Where the values of an account come from on the command line. None is ever repeated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from moonsand.exits import UsageFault

if TYPE_CHECKING:
    from integrations.pack import Pack

MAX_BYTES = 256 * 1024


def split_pairs(option: str, entries: list[str]) -> dict[str, str]:
    """
    Take `FIELD=VALUE` apart, each field once.

    Raises:
        UsageFault: an entry is no pair, or a field is given twice.
    """
    values: dict[str, str] = {}
    for entry in entries:
        field, equals, value = entry.partition("=")
        if not equals or not field or field in values:
            # The text is not repeated: somebody may have put a secret there.
            raise UsageFault(f"{option} takes FIELD=VALUE, each field once")
        values[field] = value.strip()
    return values


def from_env(variable: str) -> str:
    """
    Take a value from the environment.

    Raises:
        UsageFault: there is no such variable.
    """
    value = os.environ.get(variable)
    if value is None:
        raise UsageFault("--env names a variable that is not set")
    return value.strip()


def from_file(path: str) -> str:
    """
    Take a value from a file.

    Raises:
        UsageFault: it can't be read, or is not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES).decode().strip()
    except OSError as error:
        raise UsageFault(f"--file names a file that cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageFault("--file names a file that is not UTF-8") from None


def prompted(pack: Pack) -> dict[str, str]:
    """Ask a person at a terminal for every field; secrets are not echoed."""
    values: dict[str, str] = {}
    for name, wanted in pack.credentials.items():
        label = wanted.label + ("" if wanted.required else " (may be empty)")
        text = typer.prompt(label, default="", hide_input=wanted.secret, show_default=False)
        if text:
            values[name] = text.strip()
    return values
