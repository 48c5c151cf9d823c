"""The accounts file of the stubs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moonsand.exits import UsageFault

if TYPE_CHECKING:
    from integrations.stubs.server import Stubs


def write_accounts(path: Path, stubs: Stubs) -> None:
    """
    Write accounts by which workers and `moonsand run` reach the stubs.

    Raises:
        UsageFault: the file cannot be written.
    """
    try:
        path.write_text(stubs.accounts_toml)
    except OSError as error:
        raise UsageFault(f"cannot write {path}: {error.strerror or error}") from None
