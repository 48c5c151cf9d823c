"""
Signatures of the form `t=<Unix seconds>,v1=<hex>[,v1=<hex>...]`, as Mux and Stripe send them.

Runs in: api. Trusts: nothing. Refuses: no `t` or two of them, no `v1`, a time that is too far
away, a signature that is of none of the secrets. May import: stdlib, triggers.verification.

Signed is the text of `t`, a dot, and the body. Names that are not known are passed over: that is
how their senders bring in new kinds.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from triggers.verification.delivery import Delivery, SignatureRefused, check_time
from triggers.verification.matching import check_count, matching

_MAX_PARTS = 64


def verify(
    delivery: Delivery, header: str, secrets: Sequence[str], *, now_s: float, tolerance_s: int
) -> int:
    """
    Check a request, and give the place of the secret that signed it.

    Raises:
        SignatureRefused: it is missing, malformed, too old or too new, or of none of the secrets.
    """
    time, given = _parts(delivery.header(header), header)
    check_time(time, now_s=now_s, tolerance_s=tolerance_s)
    return matching([sign(secret, time, delivery.body) for secret in secrets], given)


def sign(secret: str, time: str, body: bytes) -> bytes:
    """Give the lower-case hexadecimal HMAC-SHA-256 of `time`, a dot and `body`, as ASCII."""
    message = time.encode() + b"." + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest().encode()


def _parts(value: str, header: str) -> tuple[str, list[str]]:
    parts = value.split(",")
    if len(parts) > _MAX_PARTS:
        raise SignatureRefused(f"{header} has more than {_MAX_PARTS} parts")
    named = [one.strip(" \t").partition("=") for one in parts]
    times = [text for name, _, text in named if name == "t"]
    given = [text for name, _, text in named if name == "v1"]
    if len(times) != 1:
        raise SignatureRefused(f"{header} must hold one t=<Unix seconds>, and holds {len(times)}")
    check_count(given, header)
    return times[0], given
