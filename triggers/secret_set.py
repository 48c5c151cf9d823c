"""
The secrets of one hook, callback endpoint or connection: several at once while one is exchanged.

Runs in: api, scheduler. Trusts: nothing of Redis but that it keeps bytes. Refuses: more than
`MAX_SECRETS`. May import: stdlib, orjson, core, triggers.

Each is sealed for its owner and its own id: one that is copied to another hook does not open there.
"""

from __future__ import annotations

import secrets as randomness
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import orjson

from core.errors import Conflict, NotFound
from tenancy.envelope import Place
from triggers.trigger_keys import TriggerKeys

#: Secrets that count at once: an old and a new one, and room for a mistake.
MAX_SECRETS = 4


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """One secret. `id` is no part of it; `created_ms` is Unix milliseconds."""

    id: str
    created_ms: int
    sealed: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecretSet:
    """All secrets of one owner, oldest first. `owner` is what they are sealed for."""

    owner: Place
    kept: tuple[KeptSecret, ...] = ()

    @classmethod
    def read(cls, owner: Place, text: bytes | None) -> Self:
        """Take them from what `text` made."""
        return cls(owner, tuple(KeptSecret(**one) for one in orjson.loads(text or b"[]")))

    def text(self) -> bytes:
        """Give what is stored."""
        return orjson.dumps([asdict(one) for one in self.kept])

    def shown(self) -> list[dict[str, Any]]:
        """Give what may be shown: ids and times."""
        return [{"id": one.id, "created_ms": one.created_ms} for one in self.kept]

    def with_new(self, keys: TriggerKeys, secret: str, at_ms: int) -> tuple[Self, str]:
        """
        Add a secret; give the set and the new secret's id.

        Raises:
            Conflict: there are `MAX_SECRETS`.
        """
        if len(self.kept) >= MAX_SECRETS:
            raise Conflict(
                f"there are {MAX_SECRETS} secrets, which is all that is allowed",
                hint="remove one that nobody signs with any more",
            )
        secret_id = f"s{randomness.token_hex(4)}"
        sealed = keys.seal(secret, (*self.owner, secret_id))
        one = KeptSecret(secret_id, at_ms, sealed)
        return type(self)(self.owner, (*self.kept, one)), secret_id

    def without(self, secret_id: str) -> Self:
        """
        Leave out one secret.

        Raises:
            NotFound: there is none with this id.
        """
        left = tuple(one for one in self.kept if one.id != secret_id)
        if len(left) == len(self.kept):
            raise NotFound("there is no secret with this id", hint="showing its owner lists them")
        return type(self)(self.owner, left)

    def opened(self, keys: TriggerKeys) -> Sequence[str]:
        """
        Open them all, oldest first.

        Raises:
            VaultDamaged, Unavailable: as `TriggerKeys.open`.
        """
        return [keys.open(one.sealed, (*self.owner, one.id)) for one in self.kept]

    def sealed_anew(self, keys: TriggerKeys) -> Self:
        """
        Seal them all with the current key.

        Raises:
            VaultDamaged, Unavailable: as `TriggerKeys.open`.
        """
        texts = self.opened(keys)
        return type(self)(
            self.owner,
            tuple(
                KeptSecret(one.id, one.created_ms, keys.seal(text, (*self.owner, one.id)))
                for one, text in zip(self.kept, texts, strict=True)
            ),
        )
