"""
The text of an API key: `ms_live_<43 base-62 digits>_<6 base-62 digits of CRC-32>`.

The 43 digits hold 256 random bits, so one SHA-256 at rest is enough: there is nothing to guess
at. The checksum finds a cut or mistyped key without asking Redis and lets secret scanners be
sure. The text is given out once, when it is made; only its digest and last four characters stay.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib

_PREFIX = "ms_live_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS = 43  # 62 ** 43 > 2 ** 256
_CRC_DIGITS = 6  # 62 ** 6 > 2 ** 32
_SHAPE = re.compile(rf"({_PREFIX}[0-9A-Za-z]{{{_SECRET_DIGITS}}})_([0-9A-Za-z]{{{_CRC_DIGITS}}})")


def new_plain_key() -> str:
    """Make the text of a new key: 256 random bits and their checksum."""
    body = _PREFIX + _base62(secrets.randbits(256), _SECRET_DIGITS)
    return f"{body}_{_checksum(body)}"


def is_well_formed(plain: str) -> bool:
    """Tell whether `plain` has the shape and the checksum of a key."""
    found = _SHAPE.fullmatch(plain)
    return found is not None and hmac.compare_digest(found[2], _checksum(found[1]))


def digest_of(plain: str) -> str:
    """Give the hexadecimal SHA-256 under which a key is stored."""
    return hashlib.sha256(plain.encode()).hexdigest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CRC_DIGITS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
