"""
Objects in a bucket of an S3-compatible store.

Runs in: sequencer; api and CLI read only. Trusts: the store, to keep what it took and to honour
`If-None-Match` and `If-Match`. Refuses: to start on a store that does not honour them.
May import: stdlib, obstore, core, ledger.

Access comes from the variables that every tool for S3 reads (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`), or from the host's role.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from core.errors import Invalid, Unavailable
from ledger.objects import put_all
from ledger.tiles import LedgerDamaged

if TYPE_CHECKING:
    from obstore.store import S3Store

_THREADS = 32
_PROBE = "probe"
_DELETE_AT_ONCE = 500
_TRIES = 3
_TIMEOUT_S = 10
_WHY_CHARS = 300


class BucketStore:
    """One bucket, or a prefix in it: `s3://bucket/prefix`."""

    def __init__(self, url: str) -> None:
        self._obs = _obstore()
        self._store = self._open(url)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="objects")

    def _open(self, url: str) -> S3Store:
        from obstore.store import S3Store  # noqa: PLC0415 (an extra)

        try:
            return S3Store.from_url(
                url,
                conditional_put="etag",
                client_options={
                    "timeout": f"{_TIMEOUT_S}s",
                    "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",
                },
                retry_config={
                    "max_retries": _TRIES,
                    "retry_timeout": timedelta(seconds=_TIMEOUT_S),
                },
            )
        except (self._obs.exceptions.BaseError, ValueError) as error:
            raise Invalid(f"{url} names no bucket: {_why(error)}") from None

    def get(self, name: str) -> bytes | None:
        """Give an object."""
        found = self.tagged(name)
        return None if found is None else found[0]

    def get_all(self, names: Sequence[str]) -> list[bytes | None]:
        """Give several objects, read side by side."""
        return [self.get(names[0])] if len(names) == 1 else list(self._pool.map(self.get, names))

    def get_part(self, name: str, start: int, length: int) -> bytes | None:
        """Give a part of an object."""
        if not length:
            return b""
        with self._reached():
            try:
                return bytes(self._obs.get_range(self._store, name, start=start, length=length))
            except FileNotFoundError:
                return None

    def create(self, name: str, data: bytes) -> bool:
        """Put an object where there is none."""
        with self._reached():
            try:
                self._obs.put(self._store, name, data, mode="create", use_multipart=False)
            except self._obs.exceptions.AlreadyExistsError:
                return False
            return True

    def create_all(self, objects: Mapping[str, bytes]) -> None:
        """Put several objects side by side."""
        for name, made in put_all(self._pool, self.create, objects):
            if not made and self.get(name) != objects[name]:
                raise LedgerDamaged(f"the object {name} is there with other bytes")

    def tagged(self, name: str) -> tuple[bytes, str] | None:
        """Give an object and its ETag."""
        with self._reached():
            try:
                found = self._obs.get(self._store, name)
            except FileNotFoundError:
                return None
            return bytes(found.bytes()), str(found.meta["e_tag"])

    def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        """Put an object in the place of another."""
        mode: Any = "create" if tag is None else {"e_tag": tag}
        refused = (
            self._obs.exceptions.AlreadyExistsError,
            self._obs.exceptions.PreconditionError,
            FileNotFoundError,
        )
        with self._reached():
            try:
                put = self._obs.put(self._store, name, data, mode=mode, use_multipart=False)
            except refused:
                return None
            return str(put["e_tag"])

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects."""
        wanted = list(names)
        with self._reached():
            for at in range(0, len(wanted), _DELETE_AT_ONCE):
                self._obs.delete(self._store, wanted[at : at + _DELETE_AT_ONCE])

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """Give names in order."""
        with self._reached():
            for page in self._obs.list(self._store, prefix.rstrip("/"), offset=after or None):
                yield from (one["path"] for one in page)

    def tidy(self) -> None:
        """
        See to it that the store refuses a second object of one name.

        Raises:
            Unavailable: it does not, and would let two sequencers write.
        """
        self.create(_PROBE, b"moonsand\n")
        if self.create(_PROBE, b"moonsand\n"):
            raise Unavailable(
                "this store puts an object in the place of another though told not to",
                hint="it must honour If-None-Match; without it two sequencers could both write",
            )

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (OSError, self._obs.exceptions.BaseError) as error:
            raise Unavailable(f"the ledger's bucket cannot be reached: {_why(error)}") from None


def _obstore() -> Any:
    try:
        import obstore  # noqa: PLC0415 (an extra)
        import obstore.exceptions  # noqa: PLC0415
    except ImportError:
        raise Unavailable(
            "a ledger in a bucket needs the package `obstore`",
            hint="install moonsand with its extra: `pip install 'moonsand[s3]'`",
        ) from None
    return obstore


def _why(error: BaseException) -> str:
    """Give the first line of what the store said: the rest holds names of sources and requests."""
    return str(error).partition("\n")[0][:_WHY_CHARS]
