"""
Objects by name, written once: what the production archive is made of.

Runs in: sequencer; api and CLI read only. Trusts: the disk. Refuses: to put other bytes in the
place of an object that is there. May import: stdlib, core, ledger.

`DirectoryStore` keeps each object as a file. A file appears whole under its name or not at all, and
is on the disk when the method returns.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from core.errors import Unavailable
from ledger.tiles import LedgerDamaged

_THREADS = 16
_NEW = ".new"
_LOCK = ".lock"


class ObjectStore(Protocol):
    """
    What the archive asks of a store. Names are ours: digits, letters and slashes.

    Every method raises `Unavailable` when the store cannot be reached or refuses; what a write did
    is then not known.
    """

    def get(self, name: str) -> bytes | None:
        """Give an object, None if there is none."""
        ...

    def get_all(self, names: Sequence[str]) -> list[bytes | None]:
        """Give several objects, read side by side."""
        ...

    def get_part(self, name: str, start: int, length: int) -> bytes | None:
        """Give some bytes of an object, None if there is none."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Put an object where there is none; False if there is one, which is left as it is."""
        ...

    def create_all(self, objects: Mapping[str, bytes]) -> None:
        """
        Put several objects; those that are there already must have the same bytes.

        Raises:
            LedgerDamaged: one of them has others.
        """
        ...

    def tagged(self, name: str) -> tuple[bytes, str] | None:
        """Give an object and the tag of its present state."""
        ...

    def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        """
        Put an object in the place of the one with `tag` (None: where there is none).

        Gives the new tag, or None if another is there, which is left as it is.
        """
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; those that are not there do not matter."""
        ...

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """Give the names below `prefix`, which ends in a slash, in order, those behind `after`."""
        ...

    def tidy(self) -> None:
        """Remove what writers that died left half written."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class DirectoryStore:
    """Objects as files below one directory. A reader makes and changes nothing."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="objects")
        self._making = threading.Lock()
        #: Where this writer's files are made before they get their names, and the lock on it.
        self._new: tuple[Path, int] | None = None

    def get(self, name: str) -> bytes | None:
        """Give a file's bytes."""
        with _reached():
            return _read(self._root / name)

    def get_all(self, names: Sequence[str]) -> list[bytes | None]:
        """Give several files' bytes."""
        return [self.get(name) for name in names]

    def get_part(self, name: str, start: int, length: int) -> bytes | None:
        """Give a part of a file."""
        with _reached():
            try:
                with (self._root / name).open("rb") as file:
                    file.seek(start)
                    return file.read(length)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def create(self, name: str, data: bytes) -> bool:
        """Put a file where there is none."""
        with _reached():
            made = self._link(name, data)
            self._keep_names([name])
            return made

    def create_all(self, objects: Mapping[str, bytes]) -> None:
        """Put several files: each waits for the disk, so they wait side by side."""
        with _reached():
            for name, made in put_all(self._pool, self._link, objects):
                if not made and _read(self._root / name) != objects[name]:
                    raise LedgerDamaged(f"the object {name} is there with other bytes")
            self._keep_names(objects)

    def tagged(self, name: str) -> tuple[bytes, str] | None:
        """Give a file's bytes and their digest."""
        data = self.get(name)
        return None if data is None else (data, _tag(data))

    def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        """Put a file in the place of another."""
        with _reached(), self._locked():
            there = _read(self._root / name)
            if (None if there is None else _tag(there)) != tag:
                return None
            target = self._root / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._written(data).replace(target)
            self._keep_names([name])
        return _tag(data)

    def delete(self, names: Iterable[str]) -> None:
        """Delete files, and the directories that are empty then."""
        with _reached():
            for name in names:
                path = self._root / name
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    path.parent.rmdir()

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """Give names in order, looking only into directories that can hold them."""
        with _reached():
            yield from self._below(prefix, after)

    def tidy(self) -> None:
        """Remove what was never given its name."""
        with _reached(), self._locked(), suppress(FileNotFoundError):
            for path in (self._root / _NEW).iterdir():
                # Who lives holds the lock; the kernel takes it from who died.
                if (lock := _lock(path)) is not None:
                    shutil.rmtree(path)
                    os.close(lock)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
        if self._new is not None:
            path, lock = self._new
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
            self._new = None

    # --- parts ---------------------------------------------------------------------------------

    def _below(self, prefix: str, after: str) -> Iterator[str]:
        try:
            # As one string sorts: `a/` and what is in it comes before `a0`.
            found = sorted(
                f"{one.name}/" if one.is_dir() else one.name
                for one in os.scandir(self._root / prefix)
            )
        except FileNotFoundError:
            return
        for one in found:
            name = prefix + one
            if one.endswith("/"):
                if name > after or after.startswith(name):
                    yield from self._below(name, after)
            elif name > after and not one.startswith("."):
                yield name

    def _link(self, name: str, data: bytes) -> bool:
        target = self._root / name
        if target.exists():
            return False
        made = self._written(data)
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.link(made, target)
        except FileExistsError:
            return False
        finally:
            made.unlink(missing_ok=True)
        return True

    def _written(self, data: bytes) -> Path:
        path = self._new_directory() / secrets.token_hex(12)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                path.unlink()  # on a full disk the next try would find still less room
                raise
        return path

    def _new_directory(self) -> Path:
        with self._making:
            if self._new is None:
                path = self._root / _NEW / secrets.token_hex(8)
                with self._locked():
                    path.mkdir(mode=0o700, parents=True)
                    lock = _lock(path)
                    assert lock is not None  # noqa: S101 (nobody else knows it yet)
                    self._new = path, lock
            return self._new[0]

    def _keep_names(self, names: Iterable[str]) -> None:
        """Bring the names themselves to the disk, with those of the directories on the way."""
        directories = {parent for name in names for parent in Path(name).parents}
        list(self._pool.map(_sync, [self._root / one for one in directories]))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self._root / _LOCK
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def put_all(
    pool: Executor, put: Callable[[str, bytes], bool], objects: Mapping[str, bytes]
) -> Iterator[tuple[str, bool]]:
    """Put objects side by side; when one fails, it is told after all others have ended."""
    futures = {name: pool.submit(put, name, data) for name, data in objects.items()}
    wait(futures.values())
    for name, future in futures.items():
        yield name, future.result()


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the ledger's objects cannot be reached: {error.strerror}") from error
