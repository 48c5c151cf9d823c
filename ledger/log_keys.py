"""
The keys of one log over time: the one that signs, and those that signed before it.

Runs in: sequencer, api, CLI. Trusts: the keys it is given. Refuses: keys of several logs together;
a checkpoint of a key that was replaced before it. May import: stdlib, core, ledger.

A change of key is an entry of the log, of kind `log.rotated`, which names both. What the old key
signed up to that entry stays good; what it signs of more entries is nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from core.errors import Invalid
from ledger.archive import Archive, NewLeaf
from ledger.leaves import LeafKind, leaf, read_leaf
from ledger.notes import Checkpoint, SigningKey, VerifyKey


class LogKeys:
    """The public keys of one log, in any order."""

    def __init__(self, keys: Sequence[VerifyKey]) -> None:
        if len({key.name for key in keys}) != 1:
            raise Invalid("keys of one log are wanted, each a line `<name>+<hash>+<base64>`")
        self._keys = tuple(keys)
        self.name = keys[0].name

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read keys, one a line.

        Raises:
            Invalid: one is none, there is none, or they are of several logs.
        """
        return cls([VerifyKey.parse(line) for line in text.splitlines() if line.strip()])

    def open(self, note: str) -> Checkpoint:
        """
        Give the checkpoint of a note that one of these keys has signed.

        Raises:
            Invalid: none has, or it is no checkpoint of this log.
        """
        signed = self.signers(note)
        return (signed or self._keys)[0].open(note)

    def signers(self, note: str) -> list[VerifyKey]:
        """Give those of the keys that have signed a checkpoint."""
        return [key for key in self._keys if _opens(key, note)]

    def __str__(self) -> str:
        """Write them."""
        return "\n".join(map(str, self._keys))


#: Whoever can tell whether a log has signed a note: one key of it, or all.
Verifier = VerifyKey | LogKeys


def all_keys(key: Verifier) -> LogKeys:
    """Give the keys of a log, of which one alone may be known."""
    return key if isinstance(key, LogKeys) else LogKeys([key])


@dataclass(frozen=True)
class SigningKeys:
    """The key that signs, and the public halves of those before it, as one file keeps them."""

    key: SigningKey
    former: tuple[VerifyKey, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read a line with the signing key, then a line for each former public key.

        Raises:
            Invalid: one is none. The message quotes none.
        """
        first, *rest = [line for line in text.splitlines() if line.strip()] or [""]
        made = cls(SigningKey.parse(first), tuple(VerifyKey.parse(line) for line in rest))
        _ = made.public
        return made

    @property
    def public(self) -> LogKeys:
        """Give all public keys, the newest first."""
        return LogKeys([self.key.public, *self.former])

    def followed_by(self, key: SigningKey) -> SigningKeys:
        """Give the same log's keys when another signs."""
        return SigningKeys(key, (self.key.public, *self.former))

    def secret(self) -> str:
        """Write them, for the file that keeps them."""
        return "\n".join([self.key.secret(), *map(str, self.former)])


@dataclass(frozen=True, slots=True)
class Rotations:
    """Which keys were replaced, each by the number of the entry that tells, and by which."""

    replaced: Mapping[str, int]
    successors: frozenset[str]

    @classmethod
    def of(cls, leaves: Iterable[tuple[int, Mapping[str, Any]]]) -> Self:
        """Make them of leaves, in order; others than `log.rotated` say nothing."""
        replaced: dict[str, int] = {}
        successors = set()
        for index, fields in leaves:
            if fields.get("kind") == LeafKind.LOG_ROTATED:
                replaced.setdefault(str(fields.get("before")), index)
                successors.add(str(fields.get("after")))
        return cls(replaced, frozenset(successors))

    def ended(self, signers: Iterable[VerifyKey], size: int) -> int | None:
        """Give the entry by which every signer of a checkpoint was replaced, None if none was."""
        ends = [self.replaced.get(str(key)) for key in signers]
        known = [index for index in ends if index is not None and index < size]
        return max(known) if known and len(known) == len(ends) else None


def rotations(archive: Archive, name: str) -> Rotations:
    """Give what an archive tells of changes of its log's key."""
    return Rotations.of((one.index, read_leaf(one.data)) for one in archive.find(name))


def rotate(archive: Archive, keys: SigningKeys, at_ms: int) -> int:
    """
    Append the entry that the newest of `keys` signs from now on; give its number.

    Once more it changes nothing. A sequencer that is at work loses the archive, and refuses to go
    on with the key before.

    Raises:
        Invalid: the key before is not the one that signs this archive.
        Unavailable: the archive takes no writes.
    """
    epoch = archive.take_over()
    name, before, after = keys.key.public.name, keys.former[0], keys.key.public
    for one in archive.find(name):
        fields = read_leaf(one.data)
        if (fields.get("kind"), fields.get("after")) == (LeafKind.LOG_ROTATED, str(after)):
            return one.index
    newest = archive.checkpoint()
    known = rotations(archive, name)
    if str(before) in known.replaced or (newest is not None and not _opens(before, newest)):
        raise Invalid("the key in the settings is not the one that signs this archive")
    facts = {"by": "operator", "before": str(before), "after": str(after)}
    data = leaf(LeafKind.LOG_ROTATED, name, tenant="", at_ms=at_ms, **facts)
    return archive.commit(epoch, [NewLeaf(f"rotate-{secrets.token_hex(16)}", data)]) - 1


def _opens(key: VerifyKey, note: str) -> bool:
    try:
        key.open(note)
    except Invalid:
        return False
    return True
