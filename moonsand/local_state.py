"""
What a local service leaves in its directory for the commands of the same user.

`serve.json` (mode 0600) holds the API's address, a key of tenant `development` and the address of
Redis. The key is sent to that address only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

_NAME = "serve.json"


@dataclass(frozen=True, slots=True)
class LocalState:
    """Where a service started by `moonsand serve` is, and how to enter."""

    url: str
    key: str
    redis_url: str

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """Give what the last service in `directory` wrote, if it can be read."""
        try:
            found = json.loads((directory / _NAME).read_bytes())
            return cls(**{name: str(found[name]) for name in ("url", "key", "redis_url")})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, directory: Path) -> None:
        """Write the file; nobody else may read it, not even for a moment."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = directory / f".{_NAME}.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file)
        temporary.replace(directory / _NAME)


def default_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Give the directory of the local service: `moonsand` in the user's state directory."""
    environ = os.environ if environ is None else environ
    home = environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "moonsand"
