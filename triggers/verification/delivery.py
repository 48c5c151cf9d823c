"""
What a signature is checked against: the headers and the exact bytes of one request.

Runs in: api. Trusts: nothing in a request. Refuses: a header that is missing, given twice or of
another form than its scheme's; a time that is too far away. May import: stdlib, core.

Nothing here reads the body: it is hashed as it came, and parsed only by who knows that it is
genuine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import Refused

#: Seconds that a signed time may be away from ours, in either direction.
TOLERANCE_S = 300
_TIME = re.compile(r"[0-9]{1,12}")


class SignatureRefused(Refused):
    """The request was not signed with a secret of ours; it says which part is wrong."""

    status = 401
    code = "signature_refused"


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    One request. `headers` has lower-case names in the order they came, repeated ones repeated.

    `body` is what came over the wire, byte for byte.
    """

    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """
        Give a header that must be there once. `name` may be in any case.

        Raises:
            SignatureRefused: it is missing, or there are several: readers differ in which counts.
        """
        value = self.optional_header(name)
        if value is None:
            raise SignatureRefused(f"the header {name} is missing")
        return value

    def optional_header(self, name: str) -> str | None:
        """
        Give a header that may be there once.

        Raises:
            SignatureRefused: there are several.
        """
        wanted = name.lower()
        values = [value for one, value in self.headers if one == wanted]
        if len(values) > 1:
            raise SignatureRefused(f"the header {name} was sent {len(values)} times")
        return values[0].strip(" \t") if values else None


def check_time(text: str, *, now_s: float, tolerance_s: int) -> None:
    """
    Refuse what is no Unix time in seconds, or one more than `tolerance_s` from `now_s`.

    Raises:
        SignatureRefused: it is.
    """
    if _TIME.fullmatch(text) is None:
        raise SignatureRefused("the signed time is not a whole number of Unix seconds")
    away_s = abs(now_s - int(text))
    if away_s > tolerance_s:
        raise SignatureRefused(
            f"the signed time is {away_s:.0f} s away from ours; {tolerance_s} s are allowed",
            hint="send it anew; is the sender's clock right?",
        )
