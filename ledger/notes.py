"""
C2SP signed notes with Ed25519, and checkpoints as tlog-checkpoint spells them.

Runs in: sequencer, api, CLI. Trusts: the keys it is given. Refuses: a note without a good
signature of the key asked for. May import: stdlib, cryptography, core.

Keys are written as Go's `sumdb/note` writes them, so that its tools and others can check us.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from core.errors import Invalid

_ED25519 = b"\x01"
_ID_BYTES = 4
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,200}")
_SECRET = "PRIVATE+KEY+"  # noqa: S105 (how such a key begins)
_MAX_NOTE_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is signed: the log's name, how many leaves it has, and their root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Write the text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read the text of a note.

        Raises:
            Invalid: it is no checkpoint.
        """
        lines = text.split("\n")
        size = lines[1] if len(lines) > 3 else ""
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", size):
            raise Invalid("not a checkpoint: its second line must be the number of leaves")
        root = _unbase64(lines[2])
        if root is None or len(root) != hashlib.sha256().digest_size:
            raise Invalid("not a checkpoint: its third line must be a root in base64")
        return cls(lines[0], int(size), root)


class VerifyKey:
    """The public half of a log's key."""

    def __init__(self, name: str, public: bytes) -> None:
        check_name(name)
        self.name = name
        self._public = public
        try:
            self._key = Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            raise Invalid("an Ed25519 public key has 32 bytes") from None

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read `<name>+<hash>+<base64>`.

        Raises:
            Invalid: it is none, or its hash is not that of its key.
        """
        name, _, rest = text.strip().partition("+")
        digest, _, encoded = rest.partition("+")
        data = _unbase64(encoded)
        if data is None or data[:1] != _ED25519:
            raise Invalid("a verifier key is `<name>+<hash>+<base64>`, of Ed25519")
        made = cls(name, data[1:])
        if made.id.hex() != digest:
            raise Invalid("the verifier key's hash is not that of its name and key")
        return made

    @property
    def id(self) -> bytes:
        """Give the four bytes by which a signature names its key."""
        data = self.name.encode() + b"\n" + _ED25519 + self._public
        return hashlib.sha256(data).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        """Write it."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self._public).decode()}"

    def open(self, note: str) -> Checkpoint:
        """
        Give the checkpoint of a note that this key has signed.

        Raises:
            Invalid: no signature of this key, a wrong one, or no checkpoint of this log.
        """
        if len(note.encode("utf-8", "surrogatepass")) > _MAX_NOTE_BYTES:
            raise Invalid("a checkpoint of more than 100,000 bytes is none")
        text, gap, signatures = note.rpartition("\n\n")
        text += "\n"
        if not gap or not any(self._signed(text, line) for line in signatures.split("\n")):
            raise Invalid(f"the checkpoint has no good signature of {self.name}")
        checkpoint = Checkpoint.parse(text)
        if checkpoint.origin != self.name:
            raise Invalid(f"the checkpoint is of another log than {self.name}")
        return checkpoint

    def _signed(self, text: str, line: str) -> bool:
        dash, name, encoded = [*line.split(" "), "", "", ""][:3]
        data = _unbase64(encoded)
        if dash != "\u2014" or name != self.name or data is None or data[:_ID_BYTES] != self.id:
            return False
        try:
            self._key.verify(data[_ID_BYTES:], text.encode("utf-8", "surrogatepass"))
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A log's key. `str` and `repr` do not show it; `secret` does."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = VerifyKey(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def new(cls, name: str) -> Self:
        """
        Make a random key for the log `name`.

        Raises:
            Invalid: no name of a log.
        """
        check_name(name)
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read `PRIVATE+KEY+<name>+<hash>+<base64>`.

        Raises:
            Invalid: it is none. The message does not quote it.
        """
        refusal = "a signing key is `PRIVATE+KEY+<name>+<hash>+<base64>`, of Ed25519"
        parts = text.strip().removeprefix(_SECRET).split("+", 2)
        if not text.strip().startswith(_SECRET) or len(parts) != 3:
            raise Invalid(refusal)
        data = _unbase64(parts[2])
        if data is None or data[:1] != _ED25519 or len(data) != 33:
            raise Invalid(refusal)
        made = cls(parts[0], data[1:])
        if made.public.id.hex() != parts[1]:
            raise Invalid("the signing key's hash is not that of its name and key")
        return made

    def secret(self) -> str:
        """Write the key, for the file that keeps it."""
        encoded = base64.b64encode(_ED25519 + self._seed).decode()
        return f"{_SECRET}{self.public.name}+{self.public.id.hex()}+{encoded}"

    def sign(self, size: int, root: bytes) -> str:
        """Sign a checkpoint of this key's log; give the note."""
        text = Checkpoint(self.public.name, size, root).text()
        signature = base64.b64encode(self.public.id + self._key.sign(text.encode())).decode()
        return f"{text}\n\u2014 {self.public.name} {signature}\n"


def check_name(name: str) -> None:
    """
    Refuse what cannot name a log.

    Raises:
        Invalid: it is empty or too long, or has a space, a plus or a control character.
    """
    if not _NAME.fullmatch(name):
        raise Invalid("a log's name has 1 to 200 characters, none of them a space or a plus")


def _unbase64(text: str) -> bytes | None:
    """Decode the only spelling of some bytes: the last character may not carry bits of its own."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        return None
    return data if base64.b64encode(data).decode() == text else None
