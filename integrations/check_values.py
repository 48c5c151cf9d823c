"""What the strings and numbers of a script are worth, as JSON values."""

from __future__ import annotations

import re
from typing import Any

from integrations.check_tokens import NEWLINE, Kind, Token

_SIMPLE = {
    "a": 7,
    "b": 8,
    "f": 12,
    "n": 10,
    "r": 13,
    "t": 9,
    "v": 11,
    "\\": 92,
    '"': 34,
    "'": 39,
    "\n": 10,
    "\r": 10,
}
_PIECE = re.compile(
    r"\\z[ \t\n\r\v\f]*|\\(?:\r\n|\n\r)|\\x..|\\[0-9]{1,3}|\\u\{[^}]*\}|\\[\s\S]|[^\\]+"
)
_LONGEST_INTEGER = 19


class NoValue(Exception):
    """A literal is a value that no JSON text can carry."""


def value_of(token: Token) -> Any:
    """
    Give the value of a string or number.

    Raises:
        NoValue: a string that is not UTF-8, or a number that is infinite.
    """
    return _number(token.text) if token.kind is Kind.NUMBER else _text(token.text)


def _number(word: str) -> int | float:
    try:
        if word[:2].lower() == "0x":
            if word[2:].isalnum() and "p" not in word.lower():
                wrapped = int(word, 0) & (2**64 - 1)
                return wrapped - 2**64 if wrapped >= 2**63 else wrapped
            number = float.fromhex(word)
        elif word.isdigit() and len(word) <= _LONGEST_INTEGER and int(word) < 2**63:
            return int(word)
        else:
            number = float(word)
    except OverflowError:
        raise NoValue from None
    if number in {float("inf"), float("-inf")}:
        raise NoValue
    return number


def _text(word: str) -> str:
    if word[0] == "[":
        start = word.index("[", 1) + 1
        inner = NEWLINE.sub("\n", word[start : len(word) - start])
        return inner.removeprefix("\n")
    if "\\" not in word:
        return word[1:-1]
    pieces = _PIECE.findall(word, 1, len(word) - 1)
    try:
        return b"".join(map(_bytes, pieces)).decode()
    except UnicodeError:
        raise NoValue from None


def _bytes(piece: str) -> bytes:
    if piece[0] != "\\":
        return piece.encode()
    kind = piece[1]
    if kind == "z":
        return b""
    if kind == "x":
        return bytes.fromhex(piece[2:])
    if kind == "u":
        # A surrogate or a value beyond Unicode is bytes that are not UTF-8: encode refuses it.
        point = int(piece[3:-1], 16)
        if point > 0x10FFFF:
            raise NoValue
        return chr(point).encode()
    if kind.isdigit():
        return bytes([int(piece[1:])])
    return bytes([_SIMPLE[kind]])
