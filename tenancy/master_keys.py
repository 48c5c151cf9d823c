"""
Master keys: what the data keys of all tenants are wrapped with.

One key a line (or separated by commas): `<id>:<base64 of 32 bytes>`. The first one wraps; every
other one still opens what it wrapped, until `moonsand credentials rotate` has wrapped it anew.
Lines that start with `#` are comments.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from core.errors import Invalid

if TYPE_CHECKING:
    from core.settings import Settings

KEY_BYTES = 32
ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_MAX_BYTES = 64 * 1024


class MasterKeys:
    """Some keys by id; `current` is the id of the one that wraps. Nothing here shows a key."""

    __slots__ = ("__keys", "current")

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self.__keys = dict(keys)
        self.current = next(iter(self.__keys))

    def get(self, key_id: str) -> bytes | None:
        """Give the 32 bytes of one key, None when it is not among these."""
        return self.__keys.get(key_id)

    @property
    def ids(self) -> list[str]:
        """Ids of the keys, the wrapping one first."""
        return list(self.__keys)

    @classmethod
    def parse(cls, text: str, kind: str = "vault key") -> Self:
        """
        Take keys from text; `kind` is what messages call them.

        Raises:
            Invalid: there is none, or one is malformed; the message says which, never its value.
        """
        found: dict[str, bytes] = {}
        lines = (line.strip() for line in text.replace(",", "\n").splitlines())
        for number, line in enumerate((one for one in lines if one and one[0] != "#"), 1):
            key_id, _, encoded = line.partition(":")
            if not ID.fullmatch(key_id):
                raise Invalid(f"{kind} {number}: it must be <id>:<base64 of 32 bytes>")
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if len(key) != KEY_BYTES:
                raise Invalid(f"{kind} {number} ({key_id}): not the base64 of 32 bytes")
            if key_id in found:
                raise Invalid(f"{kind} {number}: the id {key_id} is given twice")
            found[key_id] = key
        if not found:
            raise Invalid(f"no {kind} is given", hint="`moonsand credentials keygen` makes one")
        return cls(found)

    @classmethod
    def of_settings(cls, settings: Settings) -> Self | None:
        """
        Read the keys that the settings name; None when they name none: the vault is off then.

        Raises:
            Invalid: both settings are given, the file cannot be read, or a key is malformed.
        """
        if settings.vault_keys is not None and settings.vault_keys_file is not None:
            raise Invalid("give MOONSAND_VAULT_KEYS or MOONSAND_VAULT_KEYS_FILE, not both")
        if settings.vault_keys_file is not None:
            return cls.parse(read_keys(settings.vault_keys_file, "vault key"))
        return None if settings.vault_keys is None else cls.parse(settings.vault_keys)

    def __repr__(self) -> str:
        return f"MasterKeys({', '.join(self.ids)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("master keys are not serialised")


def new_line(key_id: str) -> str:
    """
    Make a line with a new random key.

    Raises:
        Invalid: `key_id` is not 1 to 40 lower-case letters, digits, `_` and `-`.
    """
    if not ID.fullmatch(key_id):
        raise Invalid("a key id is 1 to 40 lower-case letters, digits, _ and -")
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def read_keys(path: Path, kind: str) -> str:
    """
    Read a file of keys.

    Raises:
        Invalid: it cannot be read; the message names no path.
    """
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode()
    except OSError as error:
        raise Invalid(f"the file of {kind}s cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Invalid(f"the file of {kind}s is not UTF-8") from None
