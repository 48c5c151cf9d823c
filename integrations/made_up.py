"""
Made-up values: what stands in a planned answer where the vendor would have chosen something.

A pack's example always names the same ids, so that nobody could tell which of two writes an id
came from. In an answer of a plan each such value has a mark of its own: `planned_` and 16
hexadecimal digits, made of the number of the call and the place in its reply. The same script with
the same replies gets the same marks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from integrations.redaction import pointer_part

MARK = re.compile(r"planned_[0-9a-f]{16}")
#: Names of values that a vendor chooses: ids, keys, tokens, addresses.
_CHOSEN = re.compile(
    r"(?:^|_)(?:id|ids|[sug]uid|uid|sid|uuid|guid|key|token|url|uri)$"
    r"|[a-z](?:Id|ID|Ids|IDs|Uuid|UUID|Key|Token|Url|URL|Uri|URI)$"
)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]+", re.IGNORECASE)


def make_up(
    reply: Any, seq: int, *, example: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[Any, dict[str, str]]:
    """
    Make an answer to call `seq` of an example's reply.

    What the example repeats of its own arguments, the answer repeats of those `given`. Of the rest,
    texts that a vendor chooses get a mark. Gives the answer, and the JSON pointer in it of each
    made-up value.
    """
    repeated = {
        value: given[name]
        for name, value in example.items()
        if isinstance(value, str) and isinstance(given.get(name), str)
    }
    maker = _Maker(seq, repeated)
    return maker.made(reply, "", ""), maker.values


class _Maker:
    def __init__(self, seq: int, repeated: Mapping[str, str]) -> None:
        self._seq = seq
        self._repeated = repeated
        self.values: dict[str, str] = {}

    def made(self, value: Any, name: str, pointer: str) -> Any:
        if isinstance(value, dict):
            return {
                key: self.made(item, key, f"{pointer}/{pointer_part(key)}")
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.made(item, name, f"{pointer}/{at}") for at, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        if value in self._repeated:
            return self._repeated[value]
        return self._marked(value, pointer) if _CHOSEN.search(name) else value

    def _marked(self, value: str, pointer: str) -> str:
        digest = hashlib.sha256(f"{self._seq}:{pointer}".encode()).hexdigest()
        origin = _ORIGIN.match(value)
        made = f"{origin[0]}/planned_{digest[:16]}" if origin else f"planned_{digest[:16]}"
        self.values[made] = pointer
        return made


def texts(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Give every text in a JSON value, names of members too, with its JSON pointer."""
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from texts(item, f"{pointer}/{at}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield pointer, key
            yield from texts(item, f"{pointer}/{pointer_part(key)}")


def at_pointer(value: Any, pointer: str) -> Any:
    """
    Give what stands at a JSON pointer.

    Raises:
        LookupError: nothing does.
    """
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isdecimal():
            value = value[int(key)]
        elif isinstance(value, dict):
            value = value[key]
        else:
            raise LookupError(pointer)
    return value
