"""A disk of a few hundred kilobytes that is really full, and can be made larger."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest


class SmallDisk:
    """A tmpfs at `path` while the block lasts; the test is skipped where none can be mounted."""

    def __init__(self, path: Path, kilobytes: int) -> None:
        self.path = path
        self._kilobytes = kilobytes

    def __enter__(self) -> Self:
        """Mount it."""
        self.path.mkdir(parents=True, exist_ok=True)
        done = self._mount("-t", "tmpfs", "-o", f"size={self._kilobytes}k,mode=700", "tmpfs")
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Unmount it; whoever still has a file of it open keeps that."""
        subprocess.run(["umount", "--lazy", self.path], check=True)

    def grow(self, kilobytes: int) -> None:
        """Make it larger."""
        done = self._mount("-o", f"remount,size={kilobytes}k")
        assert not done.returncode, done.stderr

    def _mount(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["mount", *arguments, str(self.path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)
