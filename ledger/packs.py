"""
Packs: objects with the payloads of one write to an archive of objects.

Runs in: sequencer, CLI; api reads only. Trusts: the journal, which says what is where in them.
Refuses: to leave the bytes of what was erased in an object. May import: stdlib, core, ledger.

A pack begins with random bytes, so that its digest, which stands in the journal for ever, tells
nothing of a short payload when the pack is gone. A pack is written once. When a part of it is
erased, what stays is put into a new one, and the old one is deleted.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from ledger.archive import Payload

SALT_BYTES = 32


class Placed(NamedTuple):
    """A payload and where its bytes are in its object."""

    id: str
    tenant: str
    run: str
    at_ms: int
    key: str
    at: int
    length: int


@dataclass(frozen=True, slots=True)
class Pack:
    """Payloads that are put as one object, those of each run in one piece."""

    name: str
    payloads: Sequence[Payload]
    data: bytes = field(repr=False)

    @classmethod
    def of(cls, name: str, payloads: Iterable[Payload]) -> Pack:
        """Make one of payloads in any order."""
        ordered = sorted(payloads, key=lambda one: (one.tenant, one.run))
        return cls(name, ordered, _salted(one.data for one in ordered))

    def told(self) -> dict[str, Any]:
        """Say what is in it, as an entry of the journal does."""
        groups = groupby(self.payloads, key=lambda one: (one.tenant, one.run))
        runs = [
            [*whose, [[one.id, one.at_ms, one.key_id, len(one.data)] for one in group]]
            for whose, group in groups
        ]
        return {"object": self.name, "sha256": _sha256(self.data), "runs": runs}


def placed(told: Mapping[str, Any]) -> Iterator[Placed]:
    """
    Give what an entry says of one object, in the order of its bytes.

    Entries of the first format tell of an object for each run, which has no random bytes.
    """
    runs, at = told.get("runs"), SALT_BYTES
    if runs is None:
        runs, at = [[told["tenant"], told["run"], told["parts"]]], 0
    for tenant, run, parts in runs:
        for payload_id, at_ms, key, length in parts:
            yield Placed(payload_id, tenant, run, at_ms, key, at, length)
            at += length


@dataclass(frozen=True, slots=True)
class Moved:
    """A pack that takes the place of another, a part of which is erased."""

    old: str
    name: str
    data: bytes = field(repr=False)

    @classmethod
    def of(cls, old: str, name: str, data: bytes, kept: Iterable[tuple[int, int]]) -> Moved:
        """Make one of an object's bytes and the places and lengths of what stays."""
        return cls(old, name, _salted(data[at : at + length] for at, length in kept))

    def told(self) -> dict[str, str]:
        """Say which it is, as an entry of the journal does."""
        return {"object": self.name, "sha256": _sha256(self.data)}


def _salted(parts: Iterable[bytes]) -> bytes:
    return b"".join([secrets.token_bytes(SALT_BYTES), *parts])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
