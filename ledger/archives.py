"""
Which archive the settings name: one SQLite file, or objects in a directory or a bucket.

Runs in: sequencer, api, CLI. Trusts: the settings. Refuses: to go on with a view that was made of
another journal. May import: stdlib, core, ledger.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import Invalid, Unavailable
from ledger.archive import Archive, ArchiveReader
from ledger.bucket import BucketStore
from ledger.journal import PREFIX, entry_name
from ledger.journal_view import JournalView
from ledger.object_archive import ObjectArchive
from ledger.object_reader import ObjectReader, is_same
from ledger.objects import DirectoryStore, ObjectStore
from ledger.sqlite_archive import NAME, SqliteArchive

if TYPE_CHECKING:
    from core.settings import Settings

BUCKET = "s3://"
_opening = threading.Lock()
#: Views that this process has compared with their journal.
_compared: set[Path] = set()


def create_archive(settings: Settings) -> Archive:
    """
    Open the archive for its writer, made first if there is none.

    Raises:
        Unavailable: the settings name none, or it cannot be made or reached.
    """
    if settings.ledger_objects is not None:
        return create_objects(settings.ledger_objects, settings.ledger_dir)
    if settings.ledger_dir is None:
        raise Unavailable("no place for the ledger's archive", hint="set MOONSAND_LEDGER_DIR")
    return SqliteArchive.create(writable(settings.ledger_dir) / NAME)


def has_archive(settings: Settings) -> bool:
    """Tell whether the settings name an archive."""
    return settings.ledger_objects is not None or settings.ledger_dir is not None


def open_archive(settings: Settings) -> ArchiveReader | None:
    """
    Open the archive for reading; None if the sequencer has not made it yet.

    Raises:
        Unavailable: the settings name none, or it cannot be read.
    """
    if settings.ledger_objects is not None:
        return open_objects(settings.ledger_objects, settings.ledger_dir)
    if settings.ledger_dir is None:
        raise Unavailable(
            "the ledger's archive cannot be read from here",
            hint="set MOONSAND_LEDGER_DIR, or MOONSAND_LEDGER_OBJECTS, for this process",
        )
    path = settings.ledger_dir / NAME
    return SqliteArchive(path, write=False) if path.exists() else None


def create_objects(place: str, directory: Path | None = None) -> ObjectArchive:
    """Open an archive of objects for its writer; `directory` keeps its view, if it is given."""
    store = _open_store(place, make=True)
    return ObjectArchive(store, _view(place, directory, store))


def open_objects(place: str, directory: Path | None = None) -> ArchiveReader | None:
    """
    Open an archive of objects for reading, None if there is none at this place.

    `directory` keeps its view if it can be written.
    """
    store = shared_store(place)
    if store.get(entry_name(0)) is None:
        return None
    return _SharedReader(store, _view(place, directory, store))


def open_place(path: Path, settings: Settings) -> ArchiveReader | None:
    """Open what stands at a place that somebody named, of whatever kind; None if it is none."""
    place = named_place(path)
    if place.startswith(BUCKET) or (path / PREFIX).is_dir():
        return open_objects(place, settings.ledger_dir)
    return SqliteArchive(path / NAME, write=False) if (path / NAME).is_file() else None


def objects_at(path: Path) -> ObjectStore | None:
    """Give the objects of an archive at a place that somebody named, None if there are none."""
    place = named_place(path)
    if not place.startswith(BUCKET):
        return shared_store(place) if (path / PREFIX).is_dir() else None
    store = shared_store(place)
    if store.get(entry_name(0)) is None:
        raise Invalid(f"there is no archive at {place}")
    return store


def named_place(path: Path) -> str:
    """Give a place as it was named: a path has lost one of the slashes of `s3://`."""
    text = str(path)
    return f"{BUCKET}{text[len(BUCKET) - 1 :]}" if text.startswith(BUCKET[:-1]) else text


@cache
def shared_store(place: str) -> ObjectStore:
    """Give the one store of this process for a place, to be read only and never closed."""
    return _open_store(place, make=False)


def writable(path: Path) -> Path:
    """
    Give a directory that can be written, made if there is none.

    Raises:
        Unavailable: it cannot be.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{path} cannot be made: {error.strerror}") from None
    if not os.access(path, os.W_OK):
        raise Unavailable(f"{path} cannot be written", hint="the ledger is to be kept there")
    return path


class _SharedReader(ObjectReader):
    """A reader whose store others of this process use too."""

    def close(self) -> None:
        """Let go of the view alone."""
        self._view.close()


def _open_store(place: str, *, make: bool) -> ObjectStore:
    if place.startswith(BUCKET):
        return BucketStore(place)
    path = Path(place)
    return DirectoryStore(writable(path) if make else path)


def beside(place: str, directory: Path | None, stem: str) -> Path:
    """
    Give the file of this host that keeps something made of the archive at `place`.

    It is in `directory`, else in one that goes with this process.
    """
    if directory is None or not (directory.is_dir() and os.access(directory, os.W_OK)):
        directory = _private()
    return directory / f"{stem}-{hashlib.sha256(_full(place).encode()).hexdigest()[:16]}.db"


def _full(place: str) -> str:
    return place if place.startswith(BUCKET) else str(Path(place).absolute())


def _view(place: str, directory: Path | None, store: ObjectStore) -> JournalView:
    """Open the view that this host keeps; one that is not of this journal is made anew."""
    path = beside(place, directory, "view")
    with _opening:
        if path in _compared:
            return JournalView(path)
        with suppress(Unavailable):
            view = JournalView(path)
            if view.readable and is_same(store, view):
                _compared.add(path)
                return view
            view.close()
        for rest in ("", "-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
        _compared.add(path)
        return JournalView(path)


@cache
def _private() -> Path:
    directory = tempfile.TemporaryDirectory(prefix="moonsand-ledger-")
    atexit.register(directory.cleanup)
    return Path(directory.name)
