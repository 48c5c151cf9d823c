"""What every archive of the ledger keeps and promises."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.errors import Broken


class Outrun(Broken):
    """A later sequencer has taken over: nothing was written."""


@dataclass(frozen=True, slots=True)
class NewLeaf:
    """A leaf to be appended: its exact bytes, and the inbox entry that it comes from."""

    inbox_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class TapeLine:
    """One line of a tape, in its exact bytes."""

    tape: str
    seq: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Payload:
    """
    What may be deleted without touching a proof.

    `key_id` names the tenant's data key that `data` is sealed with; empty: it is in the clear.
    """

    id: str
    tenant: str
    run: str
    at_ms: int
    key_id: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """A leaf and its place in the tree."""

    index: int
    data: bytes


class ArchiveReader(Protocol):
    """What anybody may ask of an archive."""

    @property
    def size(self) -> int:
        """Count the leaves."""
        ...

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile of the tree as it is now; empty when there is none."""
        ...

    def leaves(self, start: int = 0) -> Iterator[Found]:
        """Give all leaves from `start` on, in order."""
        ...

    def find(self, subject: str) -> list[Found]:
        """Give the leaves about one subject, in order."""
        ...

    def tape(self, tape: str) -> list[bytes]:
        """Give the lines of a tape, in order."""
        ...

    def payload(self, payload_id: str) -> Payload | None:
        """Give a payload, None when it is not there (any more)."""
        ...

    def data_keys(self) -> dict[str, bytes]:
        """Give the wrapped data key of every tenant that has one."""
        ...

    def checkpoint(self) -> str | None:
        """Give the newest checkpoint, None when none was signed yet."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Archive(ArchiveReader, Protocol):
    """
    The archive in the hands of its one writer.

    Every method that writes takes the `epoch` of its caller and raises `Outrun`, having written
    nothing, when a later one was taken. What it wrote is on the disk on return.
    """

    def take_over(self) -> int:
        """Begin a new epoch and give it: whoever wrote before can no more."""
        ...

    def known(self, inbox_ids: Collection[str]) -> set[str]:
        """Give those inbox entries that are in the archive already."""
        ...

    def has_payloads(self, payload_ids: Collection[str]) -> set[str]:
        """Give those payloads that are there."""
        ...

    def stage(self, epoch: int, lines: Sequence[TapeLine], payloads: Sequence[Payload]) -> None:
        """Keep parts of tapes whose leaves are not committed yet; nobody sees them until then."""
        ...

    def discard(self, epoch: int) -> None:
        """Forget what was staged by a batch that was not committed."""
        ...

    def commit(
        self,
        epoch: int,
        leaves: Sequence[NewLeaf],
        lines: Sequence[TapeLine] = (),
        payloads: Sequence[Payload] = (),
    ) -> int:
        """Append leaves, all or none, with the tapes they name; give the new size."""
        ...

    def keep_data_key(self, epoch: int, tenant: str, record: bytes) -> None:
        """Keep a tenant's wrapped data key instead of the one before."""
        ...

    def keep_checkpoint(self, epoch: int, size: int, note: str) -> None:
        """Keep a signed checkpoint."""
        ...


@dataclass(frozen=True, slots=True)
class Erasing:
    """
    What is to be erased: all payloads of some runs, some that runs share, and of tenants all.

    Of a tenant in `tenants` the data key is destroyed too.
    """

    runs: Collection[str] = ()
    shared: Collection[str] = ()
    tenants: Collection[str] = ()


class ErasableArchive(Archive, Protocol):
    """An archive whose payloads can be deleted."""

    def erase(self, epoch: int, leaf: NewLeaf, erasing: Erasing) -> int:
        """Append the leaf that tells of it and delete, all or nothing; give how many there were."""
        ...

    def tidy(self) -> None:
        """Leave nothing of what was deleted where a write is kept before it is in its place."""
        ...
