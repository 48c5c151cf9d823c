"""
What is remembered of a batch that this machine runs, so that the same command goes on with it.

It is written before anything is sent, and removed when the batch has ended: a small file below the
user's state directory, named by a digest of the service, the file of jobs and the batch's terms.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from moonsand.local_state import default_directory


class Remembered:
    """The idempotency key of one batch, known before the batch is. `found`: from an earlier run."""

    def __init__(self, path: Path, key: str, *, found: bool) -> None:
        self._path = path
        self.key = key
        self.found = found

    @classmethod
    def of(cls, url: str, jobs_sha256: str, terms: Mapping[str, Any], *, new: bool) -> Self:
        """
        Find what an earlier run of the same command wrote, or write it; `new` does not look.

        Raises:
            OSError: it cannot be kept.
        """
        told = json.dumps([url, jobs_sha256, terms], sort_keys=True)
        name = hashlib.sha256(told.encode()).hexdigest()[:32]
        path = default_directory() / "batches" / f"{name}.json"
        if not new:
            try:
                return cls(path, str(json.loads(path.read_bytes())["key"]), found=True)
            except (OSError, ValueError, KeyError, TypeError):
                pass
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = cls(path, f"batch-run-{secrets.token_hex(16)}", found=False)
        temporary = path.with_name(f".{name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"key": made.key}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        return made

    def forget(self) -> None:
        """Remove it: the next run of the command makes a new batch."""
        self._path.unlink(missing_ok=True)
