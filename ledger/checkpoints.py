"""
Signing the tree every few seconds, and refusing to sign what does not go on from what was signed.

Runs in: sequencer. Trusts: its signing key. Refuses: an archive that is shorter than a checkpoint
of its key, or has another root at its size. May import: stdlib, redis, core, ledger.

A checkpoint is in the archive before anybody else sees it. It is kept elsewhere too (Redis, the
witness), since an archive that was put back to an earlier state brings its old checkpoints with it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import structlog

from core import keys
from core.errors import Invalid
from core.redis_room import set_text
from ledger.log_keys import SigningKeys, rotations
from ledger.merkle import leaf_hash
from ledger.tiles import HEIGHT, LedgerDamaged, root_at

if TYPE_CHECKING:
    from redis import Redis

    from ledger.archive import Archive
    from ledger.notes import SigningKey


class Witness(Protocol):
    """Somewhere else that keeps checkpoints."""

    def push(self, size: int, note: str) -> None:
        """Send a checkpoint there; whatever goes wrong is logged and nothing waits for it."""
        ...

    def newest(self) -> str | None:
        """Give the newest checkpoint that is there, if one can be read."""
        ...


class Checkpoints:
    """Signs what the archive holds, at most every `every_s` seconds."""

    def __init__(
        self,
        archive: Archive,
        key: SigningKey | SigningKeys,
        redis: Redis,
        witnesses: Sequence[Witness] = (),
        every_s: float = 2.0,
    ) -> None:
        self._archive = archive
        signing = key if isinstance(key, SigningKeys) else SigningKeys(key)
        self._key, self._keys = signing.key, signing.public
        self._redis = redis
        self._witnesses = witnesses
        self._every_s = every_s
        self._signed = 0
        self._due = 0.0

    def check(self) -> None:
        """
        Compare the archive with every checkpoint that can be found; publish its own newest again.

        Raises:
            LedgerDamaged: it does not go on from one of them.
        """
        own = self._archive.checkpoint()
        self._check_last_tile()
        self._check_key(own)
        for where, note in self._known(own):
            self._compare(where, note)
        if own is not None:
            self._publish(self._keys.open(own).size, own)

    def maybe(self, epoch: int, *, at_once: bool = False) -> bool:
        """Sign if the time has come (or `at_once`) and the tree has grown; tell whether it was."""
        if not at_once and time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + self._every_s
        size = self._archive.size
        if size <= self._signed:
            return False
        note = self._key.sign(size, root_at(self._archive.tile, size))
        self._archive.keep_checkpoint(epoch, size, note)
        self._publish(size, note)
        return True

    def _publish(self, size: int, note: str) -> None:
        self._signed = size
        set_text(self._redis, keys.LEDGER_CHECKPOINT, note)
        for witness in self._witnesses:
            witness.push(size, note)

    def _known(self, own: str | None) -> Iterator[tuple[str, str]]:
        if own is not None:
            yield "the archive", own
        published = self._redis.get(keys.LEDGER_CHECKPOINT)
        if isinstance(published, bytes):
            yield "Redis", published.decode("utf-8", "replace")
        for witness in self._witnesses:
            note = witness.newest()
            if note is not None:
                yield "the witness", note

    def _compare(self, where: str, note: str) -> None:
        try:
            signed = self._keys.open(note)
            self._check_signer(note, signed.size)
        except Invalid as error:
            if where == "the archive":
                raise LedgerDamaged(
                    f"the archive's newest checkpoint is not of this key: {error.detail}"
                ) from None
            # Anybody who writes there could stop us with a forged one: it says nothing.
            log = structlog.get_logger(__name__)
            log.warning("checkpoint_foreign", where=where, detail=error.detail)
            return
        size = self._archive.size
        if signed.size > size:
            raise LedgerDamaged(
                f"the archive has {size} leaves, but a checkpoint of {signed.size} was signed"
                f" ({where} has it): its end was cut off, or it was put back to an earlier state"
            )
        if root_at(self._archive.tile, signed.size) != signed.root:
            raise LedgerDamaged(
                f"the archive's tree of {signed.size} leaves is not the one that was signed"
                f" ({where} has its checkpoint): the archive was changed"
            )

    def _check_key(self, own: str | None) -> None:
        """See to it that the log tells of a change of its key, and that no old one signs."""
        key = self._key.public
        known = rotations(self._archive, key.name)
        if str(key) in known.replaced:
            raise LedgerDamaged(
                f"entry {known.replaced[str(key)]} of the log tells that another key signs it;"
                " start the sequencer with that one"
            )
        signers = [str(one) for one in self._keys.signers(own)] if own is not None else []
        if signers and str(key) not in signers and str(key) not in known.successors:
            raise LedgerDamaged(
                "no entry of the log tells that this key signs it; `moonsand ledger rotate` does"
            )

    def _check_signer(self, note: str, size: int) -> None:
        known = rotations(self._archive, self._key.public.name)
        end = known.ended(self._keys.signers(note), size)
        if end is not None:
            raise Invalid(f"it is signed with a key that entry {end} replaced")

    def _check_last_tile(self) -> None:
        size = self._archive.size
        number = max(size - 1, 0) >> HEIGHT
        hashes = [leaf_hash(one.data) for one in self._archive.leaves(number << HEIGHT)]
        if b"".join(hashes) != self._archive.tile(0, number):
            raise LedgerDamaged("the archive's last leaves are not those of its last tile")
