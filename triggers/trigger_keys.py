"""
Sealing the secrets of hooks, callbacks and connections: the API and the scheduler open them.

Runs in: api, scheduler, CLI. Trusts: whoever configured the keys. Refuses: to open what was
changed, moved to another place, or sealed with a key that is not here. May import: stdlib,
cryptography, core, tenancy.

To check a signature one needs the secret itself, so the API must be able to open those of hooks.
They have keys of their own: who has these opens no vendor's account, and neither the API nor the
scheduler is given the vault's.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, NoReturn, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.errors import Invalid, Unavailable
from tenancy.envelope import Place, VaultDamaged, seal, unseal
from tenancy.master_keys import KEY_BYTES, MasterKeys, read_keys

if TYPE_CHECKING:
    from core.settings import Settings

_PURPOSE = b"moonsand-trigger-secrets-1"
_KIND = "trigger key"


class TriggerKeys:
    """Some keys by id, the first of which seals. Nothing here shows a key."""

    __slots__ = ("__derived", "current")

    def __init__(self, keys: MasterKeys) -> None:
        self.current = keys.current
        self.__derived = {one: _derive(keys.get(one) or b"") for one in keys.ids}

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Take keys from text, `<id>:<base64 of 32 bytes>` a line or between commas.

        Raises:
            Invalid: there is none, or one is malformed.
        """
        return cls(MasterKeys.parse(text, _KIND))

    @classmethod
    def of_settings(cls, settings: Settings) -> Self | None:
        """
        Read the keys that the settings name; None when they name none.

        Raises:
            Invalid: both settings are given, the file cannot be read, or a key is malformed.
        """
        if settings.trigger_keys is not None and settings.trigger_keys_file is not None:
            raise Invalid("give MOONSAND_TRIGGER_KEYS or MOONSAND_TRIGGER_KEYS_FILE, not both")
        if settings.trigger_keys_file is not None:
            return cls.parse(read_keys(settings.trigger_keys_file, _KIND))
        return None if settings.trigger_keys is None else cls.parse(settings.trigger_keys)

    def seal(self, secret: str, place: Place) -> str:
        """Seal a secret for one place: `<key id>:<base64>`."""
        sealed = seal(self.__derived[self.current], secret, place)
        return f"{self.current}:{base64.b64encode(sealed).decode()}"

    def is_current(self, sealed: str) -> bool:
        """Tell whether this was sealed with the key that seals now."""
        return sealed.startswith(f"{self.current}:")

    def open(self, sealed: str, place: Place) -> str:
        """
        Open what was sealed for `place`.

        Raises:
            VaultDamaged: it was changed, moved here, or is none of ours.
            Unavailable: it was sealed with a key that is not given here.
        """
        key_id, _, text = sealed.partition(":")
        key = self.__derived.get(key_id)
        if key is None:
            raise Unavailable(
                "a secret is sealed with a trigger key that is not given here",
                hint="give it after the current one in MOONSAND_TRIGGER_KEYS_FILE",
            )
        try:
            found = unseal(key, base64.b64decode(text, validate=True), place)
        except binascii.Error:
            raise VaultDamaged(f"the sealed {place[0]} is malformed") from None
        if not isinstance(found, str):
            raise VaultDamaged(f"the sealed {place[0]} is no text")
        return found

    def __repr__(self) -> str:
        return f"TriggerKeys({', '.join(self.__derived)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("trigger keys are not serialised")


def needed(keys: TriggerKeys | None) -> TriggerKeys:
    """
    Give the keys.

    Raises:
        Unavailable: there are none here, so that no secret can be kept.
    """
    if keys is None:
        raise Unavailable(
            "no trigger key is given here: secrets of hooks, callbacks and connections cannot be "
            "kept",
            hint="the operator sets MOONSAND_TRIGGER_KEYS_FILE for the API and the scheduler",
        )
    return keys


def _derive(key: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=_PURPOSE).derive(key)
