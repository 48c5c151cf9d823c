"""The ledger of a local service: where its archive is, and its key, made at the first start."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import Unavailable
from ledger.log_keys import SigningKeys
from ledger.notes import SigningKey
from moonsand.commands.ledger import write_new

if TYPE_CHECKING:
    from core.settings import Settings

_DIRECTORY = "ledger"
_KEY = "key"


def ledger_environments(
    settings: Settings, directory: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """
    Give the variables of a role that reads the archive, and of the one that writes and signs.

    Raises:
        Unavailable: the directory or the key cannot be made.
    """
    read = {"MOONSAND_LEDGER_DIR": str(ledger_directory(settings, directory))}
    if settings.ledger_key is not None or settings.ledger_key_file is not None:
        return read, read
    key = _key_in(directory / _DIRECTORY).absolute()
    return read, read | {"MOONSAND_LEDGER_KEY_FILE": str(key)}


def ledger_directory(settings: Settings, directory: Path) -> Path:
    """Give where the archive of a local service is."""
    return (settings.ledger_dir or directory / _DIRECTORY).absolute()


def public_key_in(directory: Path) -> str:
    """Give what checks the checkpoints of a local service, whose key was made at its start."""
    return str(SigningKeys.parse((directory / _KEY).read_text()).public)


def _key_in(directory: Path) -> Path:
    path = directory / _KEY
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot use {directory}: {error.strerror}") from None
    if not path.exists():
        write_new(path, SigningKey.new(f"moonsand.local/{secrets.token_hex(8)}").secret())
    return path
