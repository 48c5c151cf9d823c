"""
Sealing with AES-256-GCM: what is sealed opens at its own place only.

Runs in: worker, sequencer, CLI. Trusts: the keys it is given. Refuses: to open what was changed,
cut, moved to another place, or sealed with another key. May import: stdlib, cryptography, core,
tenancy.

The place (tenant, integration, account, version, writer) is the associated data, as a JSON list,
so that no two places have the same bytes. Plaintext is padded: its length tells nothing of a
secret's.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.errors import Broken, Unavailable
from tenancy.master_keys import KEY_BYTES, MasterKeys

Place = tuple[str | int, ...]
_FORMAT = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_PAD_BYTES = 256


class VaultDamaged(Broken):
    """Something in the vault does not open; nothing of it is used."""


class NoSuchMasterKey(Unavailable):
    """The data key is wrapped with a master key that this process does not have."""


def seal(key: bytes, value: Any, place: Place) -> bytes:
    """Seal a JSON value for one place."""
    text = orjson.dumps(value)
    padded = text + b" " * (-len(text) % _PAD_BYTES)
    return _encrypt(key, padded, place)


def unseal(key: bytes, sealed: bytes, place: Place) -> Any:
    """
    Open what was sealed for `place`.

    Raises:
        VaultDamaged: it was changed, cut, moved here, or sealed with another key.
    """
    return orjson.loads(_decrypt(key, sealed, place))


def seal_bytes(key: bytes, data: bytes, place: Place) -> bytes:
    """Seal bytes for one place, as long as they are: their length can be seen."""
    return _encrypt(key, data, place)


def unseal_bytes(key: bytes, sealed: bytes, place: Place) -> bytes:
    """
    Open what `seal_bytes` made for `place`.

    Raises:
        VaultDamaged: it was changed, cut, moved here, or sealed with another key.
    """
    return _decrypt(key, sealed, place)


@dataclass(frozen=True, slots=True)
class DataKey:
    """
    A key of one tenant: of its accounts, or of its payloads in the ledger's archive.

    `id` is new for every key that was ever made.
    """

    tenant: str
    id: str
    master: str
    key: bytes = field(repr=False)

    @classmethod
    def new(cls, tenant: str, masters: MasterKeys) -> Self:
        """Make a random key."""
        return cls(tenant, secrets.token_hex(16), masters.current, secrets.token_bytes(KEY_BYTES))

    def wrap(self, masters: MasterKeys) -> bytes:
        """Give the record that is stored: the key, wrapped with the current master key."""
        master = masters.get(masters.current)
        assert master is not None  # noqa: S101 (the current key is one of them)
        place = ("data-key", self.tenant, self.id, masters.current)
        wrapped = base64.b64encode(_encrypt(master, self.key, place)).decode()
        return orjson.dumps({"id": self.id, "master": masters.current, "wrapped": wrapped})

    @classmethod
    def unwrap(cls, tenant: str, record: bytes, masters: MasterKeys) -> Self:
        """
        Open a record.

        Raises:
            NoSuchMasterKey: the master key it names is not here.
            VaultDamaged: it does not open, or is another tenant's.
        """
        try:
            fields = orjson.loads(record)
            key_id, master_id = str(fields["id"]), str(fields["master"])
            wrapped = base64.b64decode(fields["wrapped"], validate=True)
            if base64.b64encode(wrapped).decode() != fields["wrapped"]:
                raise ValueError("another spelling of the same bytes")  # noqa: TRY301
        except (ValueError, TypeError, KeyError, binascii.Error):
            raise VaultDamaged("the record of a tenant's data key is malformed") from None
        master = masters.get(master_id)
        if master is None:
            raise NoSuchMasterKey(
                "a tenant's data key is wrapped with a master key that is not given here",
                hint="give it after the current one, and run `moonsand credentials rotate`",
            )
        key = _decrypt(master, wrapped, ("data-key", tenant, key_id, master_id))
        if len(key) != KEY_BYTES:
            raise VaultDamaged("a tenant's data key has the wrong length")
        return cls(tenant, key_id, master_id, key)


def _encrypt(key: bytes, text: bytes, place: Place) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _FORMAT + nonce + AESGCM(key).encrypt(nonce, text, _associated(place))


def _decrypt(key: bytes, sealed: bytes, place: Place) -> bytes:
    if len(sealed) < 1 + _NONCE_BYTES + _TAG_BYTES or sealed[:1] != _FORMAT:
        raise _damaged(place)
    nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, rest, _associated(place))
    except InvalidTag:
        raise _damaged(place) from None


def _associated(place: Place) -> bytes:
    return orjson.dumps(["moonsand-vault-1", *place])


def _damaged(place: Place) -> VaultDamaged:
    return VaultDamaged(
        f"the vault's {place[0]} does not open: it was changed, moved, or sealed with another key"
    )
