"""
Where the bundle of a run is found: a file, the ledger's archive, or a service.

A run that was imported, or is in the archive of this machine, needs no service.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from core.errors import Invalid, NotFound
from core.ids import is_id
from core.settings import Settings, load_settings
from ledger.archive import ArchiveReader
from ledger.archives import has_archive, named_place, open_archive, open_place
from ledger.bundle import Bundle, parse_bundle, read_bundle
from moonsand import connection
from moonsand.local_state import default_directory
from runs.archived_bundle import ArchivedRun
from tenancy.master_keys import MasterKeys

if TYPE_CHECKING:
    from moonsand.client import AsyncClient

_IMPORTED = "bundles"
#: What is kept in memory of a bundle that comes from a service.
_SPOOL_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """Where to look: a directory with an archive, if one was named, and a service."""

    archive: Path | None
    url: str | None
    key: str | None

    def client(self) -> AsyncClient:
        """Make a client of the service."""
        return connection.open_client(self.url, self.key)


def open_bundle(named: str, source: Source) -> tuple[Bundle, str]:
    """
    Read the bundle of a run, by its id or by a file's name (`-` for stdin); tell where it was.

    Raises:
        Invalid: it is none. NotFound: there is no such file, or no such run.
    """
    if not is_id(named, "run"):
        return read_file(named), "a bundle"
    imported = imported_path(named)
    if source.archive is None and imported.is_file():
        return read_file(str(imported)), "an imported bundle"
    with archived(named, source) as lines:
        if lines is not None:
            return parse_bundle(lines), "the archive"
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as file:
        asyncio.run(download(source.client(), named, file))
        file.seek(0)
        return read_bundle(file), "the service"


def read_file(name: str) -> Bundle:
    """
    Read a bundle from a file, or from stdin for `-`.

    Raises:
        Invalid: it cannot be read, or is no bundle.
    """
    try:
        if name == "-":
            return read_bundle(sys.stdin.buffer)
        with Path(name).open("rb") as file:
            return read_bundle(file)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no name of a file"
        raise Invalid(f"{name} cannot be read: {why}", hint=_HINT) from None


def imported_path(run: str) -> Path:
    """Give the file that an imported run is kept in."""
    return default_directory() / _IMPORTED / f"{run}.jsonl"


def keep(bundle: Bundle) -> Path:
    """
    Keep a bundle that was checked, for commands that name its run; only its owner can read it.

    Raises:
        Invalid: it cannot be written.
    """
    path = imported_path(bundle.run)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(bundle.lines())
            Path(made).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(made).unlink()
            raise
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror}") from None
    return path


@contextmanager
def archived(run: str, source: Source) -> Iterator[Iterator[bytes] | None]:
    """
    Give the lines of a run's bundle from an archive, None if no archive here can give them.

    Raises:
        NotFound: the archive that was named has no such run.
    """
    settings = load_settings()
    archive = _open_archive(settings, source)
    if archive is None:
        yield None
        return
    with closing(archive):
        found = ArchivedRun.find(archive, MasterKeys.of_settings(settings), run)
        if source.archive is not None and found is None:
            raise NotFound(f"the archive has no signed end of {run}")
        if found is None or not (found.readable or source.archive is not None):
            yield None
        else:
            yield found.lines()


async def download(client: AsyncClient, run: str, file: IO[bytes]) -> None:
    """Write a run's bundle as the service gives it."""
    async with client:
        async for piece in client.bundle(run):
            file.write(piece)


def _open_archive(settings: Settings, source: Source) -> ArchiveReader | None:
    if source.archive is not None:
        archive = open_place(source.archive, settings)
        if archive is None:
            raise NotFound(f"there is no archive of a ledger in {named_place(source.archive)}")
        return archive
    if has_archive(settings):
        return open_archive(settings)
    return open_place(default_directory() / "ledger", settings)


_HINT = "give the id of a run, `run_...`, or a file that `moonsand runs export` wrote"
