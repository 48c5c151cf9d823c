"""The key that seals secrets of hooks and callbacks in a local service, made at the first start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moonsand.commands.ledger import write_new
from tenancy.master_keys import new_line

if TYPE_CHECKING:
    from core.settings import Settings

_NAME = "trigger-keys"


def trigger_environment(settings: Settings, directory: Path) -> dict[str, str]:
    """
    Give the variable of the roles that open such secrets; nothing where the operator set one.

    Raises:
        Unavailable: the key cannot be written.
    """
    if settings.trigger_keys is not None or settings.trigger_keys_file is not None:
        return {}
    path = directory / _NAME
    if not path.exists():
        write_new(path, new_line("local"))
    return {"MOONSAND_TRIGGER_KEYS_FILE": str(path.absolute())}
