"""
Sealing for the vault without being able to open: the public half of a master key.

Runs in: api, worker, CLI. Trusts: whoever configured it. Refuses: to open what was changed, or
sealed for another place or key. May import: stdlib, cryptography, core, tenancy.

A master key gives an X25519 key pair (HKDF-SHA256 of the key and a purpose). What the API is sent
is sealed with HPKE (RFC 9180, X25519, HKDF-SHA256, AES-256-GCM) to the public half; only who has
the master key opens it. The public half is no secret, but must come from the operator: with
another in its place, credentials would be sealed for somebody else.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.errors import Invalid
from tenancy.envelope import Place, VaultDamaged
from tenancy.master_keys import ID, KEY_BYTES, MasterKeys

if TYPE_CHECKING:
    from core.settings import Settings

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_PURPOSE = b"moonsand-vault-sealing-1"
_PAD_BYTES = 256


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The public half; `id` is that of its master key."""

    id: str
    public: X25519PublicKey = field(repr=False)

    def seal(self, value: Any, place: Place) -> bytes:
        """Seal a JSON value for one place."""
        text = orjson.dumps(value)
        padded = text + b" " * (-len(text) % _PAD_BYTES)
        return _SUITE.encrypt(padded, self.public, _info(place))

    def line(self) -> str:
        """Give it as a setting: `<id>:<base64 of 32 bytes>`."""
        return f"{self.id}:{base64.b64encode(self.public.public_bytes_raw()).decode()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Take it from a setting.

        Raises:
            Invalid: it is malformed.
        """
        key_id, _, encoded = text.strip().partition(":")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if not ID.fullmatch(key_id) or len(raw) != KEY_BYTES:
            raise Invalid(
                "MOONSAND_VAULT_SEALING_KEY must be <id>:<base64 of 32 bytes>",
                hint="`moonsand credentials sealing-key` prints it",
            )
        return cls(key_id, X25519PublicKey.from_public_bytes(raw))

    @classmethod
    def of_masters(cls, masters: MasterKeys) -> Self:
        """Give the public half of the wrapping master key."""
        private = _private(masters, masters.current)
        assert private is not None  # noqa: S101 (the current key is one of them)
        return cls(masters.current, private.public_key())

    @classmethod
    def of_settings(cls, settings: Settings) -> Self | None:
        """
        Give the key that the settings name, or that of the master keys they name, or None.

        Raises:
            Invalid: what they name is malformed or cannot be read.
        """
        if settings.vault_sealing_key is not None:
            return cls.parse(settings.vault_sealing_key)
        masters = MasterKeys.of_settings(settings)
        return None if masters is None else cls.of_masters(masters)


def open_sealed(masters: MasterKeys, key_id: str, sealed: bytes, place: Place) -> Any:
    """
    Open what was sealed to the public half of a master key.

    Raises:
        VaultDamaged: it was changed, or sealed for another place or with another key.
    """
    private = _private(masters, key_id)
    if private is None:
        raise VaultDamaged("sealed with a key whose master key is not given here")
    try:
        return orjson.loads(_SUITE.decrypt(sealed, private, _info(place)))
    except (InvalidTag, ValueError):
        raise VaultDamaged("a sealed question does not open") from None


def _private(masters: MasterKeys, key_id: str) -> X25519PrivateKey | None:
    master = masters.get(key_id)
    if master is None:
        return None
    derived = HKDF(SHA256(), KEY_BYTES, salt=None, info=_PURPOSE).derive(master)
    return X25519PrivateKey.from_private_bytes(derived)


def _info(place: Place) -> bytes:
    return orjson.dumps(["moonsand-vault-sealing-1", *place])
