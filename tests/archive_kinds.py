"""The kinds of archive, each in an empty place, for tests that hold them to one promise."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.archive import Archive, ArchiveReader
from ledger.archives import create_objects, open_objects, shared_store
from ledger.sqlite_archive import NAME, SqliteArchive
from tests.moto_s3 import BUCKET as MOTO_BUCKET
from tests.moto_s3 import moto_s3
from tests.s3_server import BUCKET, Bucket, s3_server

SQLITE, DIRECTORY, IN_BUCKET, IN_MOTO = "sqlite", "directory", "bucket", "moto"
KINDS = (SQLITE, DIRECTORY, IN_BUCKET)


@dataclass(frozen=True)
class Place:
    """Where an archive is: `objects` empty for SQLite. `directory` has the file, or the view."""

    directory: Path
    objects: str = ""
    bucket: Bucket | None = None

    def create(self) -> Archive:
        """Open it for writing."""
        return create_archive(self.directory, self.objects)

    def reader(self) -> ArchiveReader:
        """Open it for reading, as another host does: with nothing but what is in the place."""
        if not self.objects:
            return SqliteArchive(self.directory / NAME, write=False)
        found = open_objects(self.objects)
        assert found is not None
        return found

    def all_objects(self) -> dict[str, bytes]:
        """Give every object by its name, read as any tool could."""
        store = shared_store(self.objects)
        names = [name for name in store.names("") if not name.startswith(".")]
        return {name: store.get(name) or b"" for name in names}


def create_archive(directory: Path, objects: str) -> Archive:
    """Open an archive for writing, in SQLite if no place of objects is named."""
    if objects:
        return create_objects(objects, directory)
    return SqliteArchive.create(directory / NAME)


@contextmanager
def place_of(kind: str, directory: Path, patch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Make a place for an archive of a kind."""
    if kind == SQLITE:
        yield Place(directory)
    elif kind == DIRECTORY:
        yield Place(directory, str(directory / "objects"))
    elif kind == IN_MOTO:
        for name, value in moto_s3().items():
            patch.setenv(name, value)
        yield Place(directory, f"s3://{MOTO_BUCKET}/log-{secrets.token_hex(8)}")
    else:
        with s3_server() as bucket:
            for name, value in bucket.environment.items():
                patch.setenv(name, value)
            yield Place(directory, f"s3://{BUCKET}/log-{bucket.port}", bucket)
