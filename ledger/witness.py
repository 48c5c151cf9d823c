"""
Sending checkpoints to a place that the operator names: a directory, or an address.

Runs in: sequencer. Trusts: nothing that comes back but a checkpoint's signature, which others
check. Refuses: redirects. May import: stdlib, httpx2, core.

Somebody who holds one earlier checkpoint detects any later change: this is how one gets away from
whoever could make the change.
"""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from pathlib import Path

import httpx2
import structlog

from core.errors import Invalid
from ledger.checkpoints import Witness

_TIMEOUT_S = 10.0
_NEWEST = "checkpoint"
_MAX_BYTES = 100_000


def witness_of(text: str) -> Witness:
    """
    Make the witness that a setting names: `https://...`, `http://...`, or a directory.

    Raises:
        Invalid: the directory is not there or cannot be written.
    """
    if text.startswith(("https://", "http://")):
        return UrlWitness(text)
    directory = Path(text)
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        raise Invalid("the witness must be an http(s) address or a directory that can be written")
    return DirectoryWitness(directory)


class DirectoryWitness:
    """
    A directory, best of another machine: `checkpoint` is the newest, `<size>` each one.

    A file of one size is never written again, so that the place may be write-once.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def push(self, size: int, note: str) -> None:
        """Write the files."""
        try:
            self._write(f"{size:020}", note, again=False)
            self._write(_NEWEST, note, again=True)
        except OSError as error:
            structlog.get_logger(__name__).error("witness_failed", error=error.strerror)

    def newest(self) -> str | None:
        """Read the newest; of a directory that takes no second `checkpoint`, the greatest size."""
        try:
            sizes = sorted(one.name for one in self._directory.iterdir() if one.name.isdigit())
            name = sizes[-1] if sizes else _NEWEST
            with (self._directory / name).open("rb") as file:
                return file.read(_MAX_BYTES).decode("utf-8", "replace")
        except OSError:
            return None

    def _write(self, name: str, note: str, *, again: bool) -> None:
        target = self._directory / name
        temporary = self._directory / f".{name}.{os.getpid()}"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        if again:
            temporary.replace(target)
            return
        with suppress(FileExistsError):
            os.link(temporary, target)
        temporary.unlink()


class UrlWitness:
    """An address that checkpoints are sent to with POST, as `text/plain`, the newest first."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._newest: queue.Queue[str] = queue.Queue(maxsize=1)
        self._thread: threading.Thread | None = None

    def push(self, size: int, note: str) -> None:  # noqa: ARG002 (the note says it)
        """Hand the checkpoint to a thread of its own; one that still waits is left out."""
        with suppress(queue.Empty):
            self._newest.get_nowait()
        self._newest.put_nowait(note)
        if self._thread is None:
            self._thread = threading.Thread(target=self._send, name="witness", daemon=True)
            self._thread.start()

    def newest(self) -> str | None:
        """Give nothing: what an address answers to GET is not agreed upon."""
        return None

    def _send(self) -> None:
        with httpx2.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
            while True:
                note = self._newest.get()
                try:
                    headers = {"Content-Type": "text/plain; charset=utf-8"}
                    answer = client.post(self._url, content=note.encode(), headers=headers)
                    failed = None if answer.is_success else str(answer.status_code)
                except httpx2.HTTPError as error:
                    failed = type(error).__name__
                if failed:
                    structlog.get_logger(__name__).error("witness_failed", error=failed)
