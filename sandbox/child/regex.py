"""
Regular expressions for scripts, by RE2: linear time, in the jailed child.

Runs in: child. Trusts: nobody; pattern and subject are the script's. Refuses: patterns RE2 does
not know (back-references, look-around), too many groups. May import: stdlib, re2.
"""

from __future__ import annotations

import struct
from typing import Any

import re2

MAX_GROUPS = 64
#: RE2's own memory for one pattern; past it, matching gets slower, not larger.
MAX_PROGRAM_BYTES = 4 * 1024 * 1024
#: Offsets given in one answer, so that the Lua heap never has to take more at once.
MAX_OFFSETS = 8192

_U32 = struct.Struct("<I")
_HEAD = struct.Struct("<IBI")
_NOTHING = (-1, -1)


class Search:
    """The search that is under way: pattern, subject, and where to go on."""

    def __init__(self) -> None:
        self._options = re2.Options()
        self._options.log_errors = False
        self._options.max_mem = MAX_PROGRAM_BYTES
        self._pattern: Any = None
        self._subject = b""
        self._at = 0

    def begin(self, payload: bytes, most: int) -> bytes:
        """
        Search from the start. `payload` is the pattern and the subject, each after its length.

        Returns:
            `E` and a message; or `M` and what `more` gives.
        """
        (length,) = _U32.unpack_from(payload)
        pattern = payload[_U32.size : _U32.size + length]
        self._subject = payload[2 * _U32.size + length :]
        self._at = 0
        try:
            self._pattern = re2.compile(pattern, self._options)
        except re2.error as refused:
            return b"E" + _words(refused)
        if self._pattern.groups > MAX_GROUPS:
            return b"Ethe pattern has %d groups; at most %d are allowed" % (
                self._pattern.groups,
                MAX_GROUPS,
            )
        return self.more(most)

    def more(self, most: int) -> bytes:
        """
        Give up to `most` matches from where the last answer ended.

        Returns:
            `M`, u32 groups, u8 whether there is more, u32 names, each u32 group and text after its
            u32 length; then per match i32 start and end of the whole and of each group, -1 where
            one took no part. All little-endian.
        """
        groups: int = self._pattern.groups
        layout = struct.Struct(f"<{2 * (groups + 1)}i")
        room = max(1, min(most, MAX_OFFSETS // (groups + 1)))
        rows: list[bytes] = []
        while len(rows) < room and self._at <= len(self._subject):
            match = self._pattern.search(self._subject, self._at)
            if match is None:
                self._at = len(self._subject) + 1
                break
            spans = (match.span(group) for group in range(groups + 1))
            rows.append(layout.pack(*(offset for span in spans for offset in span)))
            self._at = self._after(*match.span())
        more = self._at <= len(self._subject)
        index = self._pattern.groupindex
        names = [_U32.pack(number) + _U32.pack(len(name)) + name for name, number in index.items()]
        return b"".join((b"M", _HEAD.pack(groups, more, len(names)), *sorted(names), *rows))

    def _after(self, start: int, end: int) -> int:
        if end > start:
            return end
        end += 1
        # An empty match moves on by a whole character, never into the middle of one.
        while end < len(self._subject) and self._subject[end] & 0xC0 == 0x80:
            end += 1
        return end


def _words(refused: Exception) -> bytes:
    said = refused.args[0] if refused.args else "invalid pattern"
    return said if isinstance(said, bytes) else str(said).encode()
